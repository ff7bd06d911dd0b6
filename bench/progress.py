"""Shows a run in progress: a bar on a terminal, else a line now and then."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bench.lag import LagMeter
from bench.rows import Row

_TERMINAL_EVERY_S = 0.5
_LOG_EVERY_S = 30.0


async def show(
    rows: Sequence[Row],
    meter: LagMeter,
    clock: Callable[[], float],
    stop: asyncio.Event,
    console: Console | None = None,
) -> None:
    """Show until `stop`."""
    # Figures go to standard output, this does not.
    console = console or Console(file=sys.stderr, highlight=False)
    if console.is_terminal:
        await _bar(rows, meter, clock, stop, console)
        return
    while not await _stopped(stop, _LOG_EVERY_S):
        console.print(f"{clock():5.0f} s  {line(rows, meter)}", soft_wrap=True)


def line(rows: Sequence[Row], meter: LagMeter) -> str:
    states = Counter(_state(row) for row in rows)
    return (
        f"sent {len(rows) - states['waiting']}/{len(rows)}"
        f"  open {states['open']}  ok {states['ok']}  failed {states['failed']}"
        f"  lag p99 {meter.p99_s() * 1000:.0f} ms"
    )


async def _bar(
    rows: Sequence[Row],
    meter: LagMeter,
    clock: Callable[[], float],
    stop: asyncio.Event,
    console: Console,
) -> None:
    span_s = rows[-1].order.intended_s if rows else 0.0
    columns = (TextColumn("{task.fields[at_s]:.0f}/{task.total:.0f} s"), BarColumn(24))
    with Progress(
        *columns, TextColumn("{task.description}"), console=console, transient=True
    ) as bar:
        task = bar.add_task("", total=span_s, at_s=0.0)
        while True:
            now_s = clock()
            bar.update(
                task, completed=min(now_s, span_s), at_s=now_s, description=line(rows, meter)
            )
            if await _stopped(stop, _TERMINAL_EVERY_S):
                return


async def _stopped(stop: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await stop.wait()
    except TimeoutError:
        return False
    return True


def _state(row: Row) -> str:
    if row.outcome is not None:
        return "ok" if row.ok else "failed"
    return "waiting" if row.sent_s is None else "open"
