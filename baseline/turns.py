"""Waits for a unit: the books of the queues, with somebody behind each job."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from baseline.pool import Job
from baseline.queues import Placed, Queues


class Turns:
    """Calls jobs in when the books place them."""

    def __init__(self, queues: Queues) -> None:
        self.queues = queues
        self._called: dict[str, asyncio.Future[str]] = {}

    @asynccontextmanager
    async def of(self, job: Job) -> AsyncIterator[str]:
        """Wait for a unit, and hold a place on it within the body. Raises QueueFull."""
        called = asyncio.get_running_loop().create_future()
        self._called[job.id] = called
        try:
            self._call(self.queues.submit(job))
            yield await called
        finally:
            del self._called[job.id]
            self._call(self.queues.end(job.id))

    def oldest_s(self) -> dict[str, float | None]:
        """How long the oldest job of each class has waited."""
        since = {name: self.queues.oldest_s(name) for name in ("short", "long")}
        now_s = time.monotonic()
        return {name: None if at_s is None else now_s - at_s for name, at_s in since.items()}

    def _call(self, placed: Iterable[Placed]) -> None:
        for one in placed:
            called = self._called[one.job.id]
            if not called.done():
                called.set_result(one.unit)
