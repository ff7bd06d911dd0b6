"""The monitor at work: one snapshot after the other, shown and recorded, until told to stop."""

import asyncio
from collections.abc import Callable, Iterable

from monitor.snapshot import Snapshot
from monitor.watcher import Watcher

Sink = Callable[[Snapshot], None]
"""Takes each snapshot: a table, a recording, a printed line."""


async def run(
    watcher: Watcher,
    sinks: Iterable[Sink],
    stop: asyncio.Event,
    *,
    every_s: float,
    samples: int | None = None,
) -> None:
    """Until `stop`, or until there were so many samples."""
    loop, takers, taken = asyncio.get_running_loop(), tuple(sinks), 0
    due_s = loop.time()
    while not stop.is_set():
        snapshot = await _unless(stop, watcher)
        if snapshot is None:
            return
        for take in takers:
            take(snapshot)
        taken += 1
        if taken == samples:
            return
        # A look that took longer than the interval delays the next; it is not made up for.
        due_s = max(due_s + every_s, loop.time())
        await _wait(stop, due_s - loop.time())


async def _unless(stop: asyncio.Event, watcher: Watcher) -> Snapshot | None:
    """A snapshot; None when `stop` came first: a unit that hangs is no reason to stay."""
    looking = asyncio.create_task(watcher.snapshot())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((looking, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if looking.done():
        return looking.result()
    looking.cancel()
    await asyncio.wait((looking,))
    return None


async def _wait(stop: asyncio.Event, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await stop.wait()
    except TimeoutError:
        return
