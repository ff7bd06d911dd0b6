"""The table fits 80 columns and shows what is unknown as a dash."""

import io
from collections.abc import Callable

import httpx
import pytest
from rich.console import Console

from monitor.snapshot import Snapshot
from monitor.table import UNKNOWN, page, plain, rate, seconds
from monitor.watcher import Watcher
from tests.monitor.conftest import REAL_PAGE, World, state_of

Watch = Callable[..., Watcher]


def shown(snapshot: Snapshot, width: int = 80) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width)
    console.print(page(snapshot, "a title", width))
    return out.getvalue()


@pytest.fixture
async def snapshot(world: World, watch: Watch) -> Snapshot:
    """A real page, a unit that is silent, and names at their longest."""
    world.state = state_of("unit-1", "a-unit-with-a-long-name", role="long")
    world.pages = {
        "unit-1": REAL_PAGE.read_text(),
        "a-unit-with-a-long-name": httpx.ConnectError("refused"),
    }
    watcher = watch()
    await watcher.snapshot()
    return await watcher.snapshot()


@pytest.mark.parametrize("width", [80, 130])
def test_a_line_is_never_longer_than_the_terminal(snapshot: Snapshot, width: int) -> None:
    lines = shown(snapshot, width).splitlines()
    assert max(map(len, lines)) <= width
    (unit,) = [line for line in lines if line.startswith("unit-1")]
    # Every figure of a unit stands on one line and is whole.
    assert "…" not in unit
    assert ("preempt/s" in lines[2]) == (width > 110)


def test_of_a_silent_unit_every_figure_is_a_dash(snapshot: Snapshot) -> None:
    line = next(line for line in shown(snapshot).splitlines() if line.startswith("a-unit"))
    _, role, state, jobs, *figures = line.split()
    assert (role, state, jobs) == ("Long", "silent", "1+0")
    assert figures == [UNKNOWN] * 8
    assert "a-unit-with-a-long-name: refused" in shown(snapshot)


def test_of_an_idle_unit_counts_are_zero_and_times_are_unknown(snapshot: Snapshot) -> None:
    (line,) = [line for line in shown(snapshot).splitlines() if line.startswith("unit-1")]
    assert line.split()[3:] == ["1+0", "0", "0", "0%", "0", "0", *[UNKNOWN] * 3]


def test_queues_that_are_not_known_are_dashes_with_the_reason(snapshot: Snapshot) -> None:
    unknown = Snapshot(snapshot.at, (), (), "no gateway")
    assert "queues and roles are unknown: no gateway" in shown(unknown)
    assert plain(unknown).endswith("no units | unknown: no gateway")
    assert "3" in shown(snapshot).partition("Long ")[2]


def test_a_log_line_names_every_queue_and_unit(snapshot: Snapshot) -> None:
    line = plain(snapshot)
    assert line.startswith("short 0 waiting, long 3 waiting | ")
    assert f"a-unit-with-a-long-name silent {UNKNOWN}+{UNKNOWN} {UNKNOWN} tok/s" in line


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, UNKNOWN), (0.0, "0"), (0.25, "0.2"), (99.6, "100"), (12_345.0, "12k")],
)
def test_a_rate_reads_like_a_figure(value: float | None, text: str) -> None:
    assert rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, UNKNOWN), (0.0, "0ms"), (0.0244, "24ms"), (0.35, "0.35s"), (12.3, "12s")],
)
def test_a_time_reads_like_a_figure(value: float | None, text: str) -> None:
    assert seconds(value) == text


async def test_a_limit_that_a_unit_found_stands_behind_its_jobs(world: World, watch: Watch) -> None:
    world.state = state_of("unit-1")
    world.pages = {"unit-1": REAL_PAGE.read_text()}
    unit = world.state["units"]["unit-1"]
    unit |= {"active": {"short": 12, "long": 0}, "online_limits": {"short": 21, "long": None}}
    lines = shown(await watch().snapshot()).splitlines()
    (line,) = [line for line in lines if line.startswith("unit-1")]
    assert "12/21+0" in line
    assert "…" not in line
    assert max(map(len, lines)) <= 80
