"""What happens when, on virtual time: a heap of calls, run in order and never slept for."""

import heapq
import itertools
from collections.abc import Awaitable, Callable

EPOCH_MS = 1_000_000_000_000
"""Virtual time 0 as the scripts see it: far from 0, as any clock that they meet."""

Call = Callable[[], Awaitable[None]]


class Appointment:
    """A call that is due at a time; `cancel` makes it pass unheard."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call: Call | None = call

    def cancel(self) -> None:
        self.call = None


class Agenda:
    """Virtual seconds since the start. Of what is due at the same time the first made comes first.

    That order and seeds are all that decides: two runs of one agenda are the same.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._numbers = itertools.count()
        self._heap: list[tuple[float, int, Appointment]] = []

    def now_ms(self) -> int:
        """The clock that the scripts are given."""
        return EPOCH_MS + round(self.now_s * 1000)

    def at(self, at_s: float, call: Call) -> Appointment:
        """Call then, or as soon as possible when that has passed."""
        appointment = Appointment(call)
        heapq.heappush(self._heap, (max(at_s, self.now_s), next(self._numbers), appointment))
        return appointment

    def after(self, wait_s: float, call: Call) -> Appointment:
        return self.at(self.now_s + wait_s, call)

    async def run(self, over: Callable[[], bool]) -> None:
        """Until nothing is due any more, or `over` says so."""
        while self._heap and not over():
            self.now_s, _, appointment = heapq.heappop(self._heap)
            if appointment.call is not None:
                await appointment.call()
