"""`python -m baseline` as it is typed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "baseline", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--short", "2", "--long", "2", "--unit", "http://u"), "are not the 1 that there are"),
        (("--short", "4", "--long", "0"), "each class needs one"),
        (("--unit", "unit-1"), "its URL is http://"),
        (("--port", "x"), "invalid int value"),
    ],
)
def test_a_mistake_is_said_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    result = ran(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
