"""`python -m tests.chaos --seed 1 --seconds 300`: hurts a fleet and says what became of it."""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.chaos.drive import drive, text
from tests.conftest import BINARIES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of load and faults (1)")
    parser.add_argument("--seconds", type=float, default=300, help="how long faults go on (300)")
    parser.add_argument("--per-second", type=float, default=6, help="requests (6)")
    parser.add_argument("--redis", choices=BINARIES, default=list(BINARIES)[-1], help="server")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--folder", type=Path, help="where logs and Redis's files stay")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="adasplit-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    report = asyncio.run(drive(given.seed, given.seconds, folder, given.redis, given.per_second))
    print(text(report))
    print(f"\nlogs: {folder}")
    if given.json:
        given.json.write_text(json.dumps(report.as_json(), indent=2, default=str) + "\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
