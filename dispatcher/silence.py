"""How long a unit may say nothing inside one answer."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from dispatcher.health import UnitHealth

_SLACK = 1.25


class Silence:
    """The limit of one answer; one timer, moved rarely, serves the whole of it."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.timeout: asyncio.Timeout | None = None

    def broken(self, next_limit_s: float) -> None:
        """A byte came.

        The timer runs out after the limit and at most a quarter later: chunks are many, and so
        only some of them move it.
        """
        self.limit_s = next_limit_s
        now = asyncio.get_running_loop().time()
        left_s = ((self.timeout and self.timeout.when()) or now) - now
        if self.timeout and not next_limit_s <= left_s <= _SLACK * next_limit_s:
            self.timeout.reschedule(now + _SLACK * next_limit_s)

    @contextmanager
    def while_unwell(self, health: UnitHealth, limit_s: float) -> Iterator[None]:
        """End the answer once the unit's /health has been silent for so long."""
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []

        def look() -> None:
            left_s = limit_s - health.silent_s
            if left_s > 0:
                timers[:] = [loop.call_later(left_s, look)]
            elif self.timeout:
                self.limit_s = limit_s
                self.timeout.reschedule(loop.time())

        look()
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
