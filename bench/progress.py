"""One line about a run in progress, rewritten in place on a terminal."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TextIO

from bench.client import Row
from bench.lag import LagMeter

_TERMINAL_EVERY_S = 2.0
_LOG_EVERY_S = 30.0


async def show(
    rows: Sequence[Row],
    meter: LagMeter,
    clock: Callable[[], float],
    stop: asyncio.Event,
    out: TextIO = sys.stderr,
) -> None:
    """Write until `stop`: every few seconds on a terminal, seldom into a log."""
    live = out.isatty()
    while not stop.is_set():
        _write(out, line(rows, meter, clock()), live=live)
        try:
            async with asyncio.timeout(_TERMINAL_EVERY_S if live else _LOG_EVERY_S):
                await stop.wait()
        except TimeoutError:
            continue
    if live:
        _write(out, "", live=True)


def line(rows: Sequence[Row], meter: LagMeter, now_s: float) -> str:
    states = Counter(_state(row) for row in rows)
    return (
        f"{now_s:5.0f} s  sent {len(rows) - states['waiting']}/{len(rows)}"
        f"  open {states['open']}  ok {states['ok']}  errors {states['error']}"
        f"  loop lag p99 {meter.p99_s() * 1000:.0f} ms"
    )


def _state(row: Row) -> str:
    if row.outcome is not None:
        return "ok" if row.ok else "error"
    return "waiting" if row.sent_s is None else "open"


def _write(out: TextIO, text: str, *, live: bool) -> None:
    out.write(f"\r\x1b[K{text}" if live else f"{text}\n")
    out.flush()
