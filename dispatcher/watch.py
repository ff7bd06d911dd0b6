"""Ends a call of the unit that takes too long: one timer, which moves only when it runs out."""

import asyncio
from collections.abc import Callable

from dispatcher.health import UnitHealth
from dispatcher.wire import UnitFault


class DeadlinePassed(Exception):
    """The job's deadline came while the unit was at it."""


class Watch:
    """Two limits for one call: the job's deadline, and how long the unit may say nothing.

    `health`: its /health may not be silent for longer than `unwell_s` meanwhile, either; for an
    answer in one piece, whose first byte comes when all is done.
    """

    def __init__(
        self,
        timeout_s: float,
        silence_s: float,
        health: UnitHealth | None = None,
        unwell_s: float = 0.0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard_s = self._loop.time()
        self._deadline_s = self._heard_s + timeout_s
        self._silence_s = silence_s
        self._health = health
        self._unwell_s = unwell_s
        self._timer: asyncio.TimerHandle | None = None
        self._end: Callable[[Exception], None] | None = None

    @property
    def left_s(self) -> float:
        """Until the deadline."""
        return self._deadline_s - self._loop.time()

    def start(self, end: Callable[[Exception], None]) -> None:
        """From now on call `end` with what is over: DeadlinePassed, or a UnitFault."""
        self._end = end
        self._look()

    def heard(self, silence_s: float) -> None:
        """A byte came; until the next one the unit may be silent for so long."""
        self._heard_s = self._loop.time()
        if silence_s != self._silence_s:
            self._silence_s = silence_s
            self._look()

    def stop(self) -> None:
        self._end = None
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._end is None:
            return
        now_s = self._loop.time()
        limits = [(self._heard_s + self._silence_s, self._silence_s)]
        if self._health:
            limits.append((now_s + self._unwell_s - self._health.silent_s, self._unwell_s))
        until_s, limit_s = min(limits)
        if now_s >= self._deadline_s:
            self._end(DeadlinePassed())
        elif now_s >= until_s:
            self._end(UnitFault("silent", f"no byte for {limit_s} s"))
        else:
            self._timer = self._loop.call_at(min(until_s, self._deadline_s), self._look)
