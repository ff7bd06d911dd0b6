"""A short run of what `make chaos` does for longer: every promise holds while things break."""

from pathlib import Path

from tests.chaos.drive import drive, text
from tests.conftest import BINARIES

SECONDS = 45.0
SEED = 3


async def test_nothing_is_lost_while_processes_are_killed_frozen_and_restarted(
    tmp_path: Path,
) -> None:
    report = await drive(SEED, SECONDS, tmp_path, next(iter(BINARIES)), per_second=4)
    said = text(report)
    assert report.violations == [], said
    assert report.outcomes["ok"] > 20, said
    assert report.jobs > 40, said
    groups = ("dispatcher", "gateway", "scaler", "unit", "Redis")
    assert [group for group in groups if not any(group in kind for kind in report.faults)] == []
    assert report.most_in_flight > 0
