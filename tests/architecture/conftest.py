"""What the checks of the source look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    *(
        "baseline",
        "bench",
        "cli",
        "common",
        "dashboard",
        "dispatcher",
        "gateway",
        "lab",
        "monitor",
        "scaler",
    ),
    "simulator",
)


def source_files(*suffixes: str, tests: bool = False) -> Iterator[Path]:
    """Our files of these kinds, in every package that exists."""
    folders = (*PACKAGES, *(("tests",) if tests else ()))
    for folder in folders:
        found = (ROOT / folder).rglob("*")
        yield from sorted(path for path in found if path.suffix in suffixes and path.is_file())


@pytest.fixture
def root() -> Path:
    """The folder that holds everything."""
    return ROOT
