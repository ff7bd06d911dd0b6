"""Sends each request when the workload says, whether or not earlier ones have been answered."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from bench.rows import Row

Send = Callable[[Row], Awaitable[None]]


class InterruptedRunError(Exception):
    """The user asked to stop; what was measured so far stands."""


class RunClock:
    """Seconds of life since the start of a run, of which `speed` pass in a second here.

    Not the event loop's clock: uvloop's counts whole milliseconds and stands still within a turn.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._start_s = time.monotonic()

    def __call__(self) -> float:
        return (time.monotonic() - self._start_s) * self.speed


async def drive(
    rows: Sequence[Row],
    send: Send,
    *,
    clock: RunClock,
    stop: asyncio.Event,
    limit: int | None = None,
) -> None:
    """Send all rows, in order of time, and wait for their ends; `stop` cuts both short.

    Afterwards every row has an outcome. A `limit` on open requests makes this a closed loop when it
    is reached; the wait shows as lag, and counts in every time that a row gives.
    """
    send = send if limit is None else _gated(send, asyncio.Semaphore(limit))
    async with _until(stop), asyncio.TaskGroup() as sends:
        for row in rows:
            await _due(row.order.intended_s, clock)
            sends.create_task(_awaited(send, row))
    for row in rows:
        if row.outcome is None:
            row.end("not_sent" if row.sent_s is None else "cancelled", clock())


async def _due(at_s: float, clock: RunClock) -> None:
    early_s = (at_s - clock()) / clock.speed
    while early_s > 0:
        # uvloop rounds to milliseconds, and may wake up one too early.
        await asyncio.sleep(max(early_s, 0.001))
        early_s = (at_s - clock()) / clock.speed
    # Of requests that are overdue each starts before the next is made.
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _until(stop: asyncio.Event) -> AsyncIterator[None]:
    """Cancel the body when `stop` is set, and swallow only that."""
    try:
        async with asyncio.TaskGroup() as group:
            interruption = group.create_task(_interrupt(stop))
            yield
            interruption.cancel()
    except* InterruptedRunError:
        pass


async def _interrupt(stop: asyncio.Event) -> None:
    await stop.wait()
    raise InterruptedRunError


async def _awaited(send: Send, row: Row) -> None:
    await send(row)


def _gated(send: Send, gate: asyncio.Semaphore) -> Send:
    async def gated(row: Row) -> None:
        async with gate:
            await send(row)

    return gated
