"""What a run shows while it goes on."""

import asyncio
import io

from rich.console import Console

from bench.lag import LagMeter
from bench.openloop import RunClock
from bench.progress import line, show
from bench.rows import Order, Row


def row(index: int, *, sent: bool = True, outcome: str | None = None) -> Row:
    found = Row(Order(index, "test", "short", "http://x", float(index), 10, 5))
    found.sent_s = 0.1 if sent else None
    if outcome:
        found.end(outcome, 1.0)
    return found


ROWS = [row(0, outcome="ok"), row(1, outcome="timeout"), row(2), row(3, sent=False)]


def test_a_line_says_how_far_the_run_is() -> None:
    meter = LagMeter(samples_s=[0.004])
    assert line(ROWS, meter) == "sent 3/4  open 1  ok 1  failed 1  lag p99 4 ms"


async def test_a_terminal_shows_a_bar_until_the_run_is_over() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    over = asyncio.Event()
    showing = asyncio.create_task(show(ROWS, LagMeter(), RunClock(), over, console))
    async with asyncio.timeout(20):
        while "sent 3/4" not in out.getvalue():  # noqa: ASYNC110  # a terminal sets no event
            await asyncio.sleep(0.01)
        over.set()
        await showing


async def test_a_log_gets_no_bar() -> None:
    out = io.StringIO()
    over = asyncio.Event()
    over.set()
    await show(ROWS, LagMeter(), RunClock(), over, Console(file=out))
    assert not out.getvalue()
