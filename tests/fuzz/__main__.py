"""`python -m tests.fuzz --minutes 10`: throws requests at a running system and weighs it.

Ends with 1 at the first 5xx, hang, or leak: of keys in Redis, of memory, of file descriptors.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from redis import Redis
from schemathesis import GenerationMode

from common.connection import Connection
from common.keys import Keys
from common.settings import Settings
from common.views import Views
from tests.cli.conftest import Up, end, start_up
from tests.e2e.test_openai import PERMANENT, settled
from tests.fuzz.requests import LIMITS, Fault, ask, broken_bytes, schema, send_bytes

_CASES_A_ROUND = 60
_THREADS = 6
_SAMPLE_S = 5.0
_GROWTH = 1.15
"""Memory at the end, against that after the first fifth, in which caches fill."""


class Scale:
    """Weighs the gateway's process now and then."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.rss_mb: list[float] = []
        self.fds: list[int] = []

    def weigh(self) -> None:
        self.rss_mb.append(self._process.memory_info().rss / 2**20)
        self.fds.append(self._process.num_fds())

    def report(self) -> str:
        rss, fds = self.rss_mb, self.fds
        fifth = len(rss) // 5
        return (
            f"RSS MiB: {rss[0]:.0f} at first, {rss[fifth]:.0f} after a fifth, {max(rss):.0f} most, "
            f"{rss[-1]:.0f} at last; descriptors: {fds[0]}, {max(fds)} most, {fds[-1]} at last"
        )

    def grown(self) -> bool:
        return self.rss_mb[-1] > self.rss_mb[len(self.rss_mb) // 5] * _GROWTH + 10


class Fuzzing:
    """Cases from the schema in one thread, broken bytes in others, until the time is over."""

    def __init__(self, up: Up, minutes: float, first_seed: int) -> None:
        self._up = up
        self._end_s = time.monotonic() + 60 * minutes
        self._seed = first_seed
        self.seen: dict[str, Counter[int]] = {"schema": Counter(), "bytes": Counter()}
        self.faults: list[Fault] = []

    def run(self, scale: Scale) -> None:
        works = [self._cases, *[self._bytes] * _THREADS]
        threads = [threading.Thread(target=work, args=(n,)) for n, work in enumerate(works)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            scale.weigh()
            time.sleep(_SAMPLE_S)

    def _going(self) -> bool:
        return time.monotonic() < self._end_s and not self.faults

    def _cases(self, _: int) -> None:
        rounds = 0
        while self._going():
            modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
            one = schema([modes[rounds % 2]])

            @seed(self._seed + rounds)
            @settings(
                max_examples=_CASES_A_ROUND,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=one.as_strategy())
            def try_one(case: object) -> None:
                if self._going():
                    self._noted("schema", partial(ask, case, self._up.url))

            try_one()
            rounds += 1

    def _bytes(self, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        while self._going():
            self._noted("bytes", partial(send_bytes, broken_bytes(chance), self._up.port))

    def _noted(self, source: str, asking: Callable[[], int]) -> None:
        try:
            self.seen[source][asking()] += 1
        except Fault as fault:
            self.faults.append(fault)


async def left_behind(redis_url: str) -> list[str]:
    """Keys that should not be there when nothing waits or runs."""
    connection = Connection.from_url(redis_url)
    await settled(Views(connection, Settings(_env_file=None)))
    await connection.aclose()
    prefix = f"{Keys().prefix}:"
    with Redis.from_url(redis_url, protocol=2) as redis:
        names = [name.decode() for name in redis.scan_iter(f"{prefix}*")]
        lasting = [name for name in names if redis.pttl(name) == -1]
    known = (*PERMANENT, "hungry:", "policy")
    return [name for name in lasting if not name.removeprefix(prefix).startswith(known)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    given_options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        given_settings = {f"ADASPLIT_{name.upper()}": each for name, each in LIMITS.items()}
        up = start_up(Path(folder), "--units", "3", **given_settings)
        try:
            up.wait_ready()
            scale = Scale(up.child("gateway"))
            fuzzing = Fuzzing(up, given_options.minutes, given_options.seed)
            fuzzing.run(scale)
            note = next(Path(folder).rglob("up.json"))
            left = asyncio.run(left_behind(json.loads(note.read_text())["redis_url"]))
            scale.weigh()
        finally:
            end(up)
    for source, seen in fuzzing.seen.items():
        counted = ", ".join(f"{status}: {count}" for status, count in sorted(seen.items()))
        print(f"{source}: {seen.total()} requests, by status {counted}")
    print(scale.report())
    print(f"keys left behind: {left or 'none'}")
    for fault in fuzzing.faults:
        print(f"FAULT {fault}")
    return 1 if fuzzing.faults or left or scale.grown() else 0


if __name__ == "__main__":
    sys.exit(main())
