"""Whether the unit can be given jobs; a unit that fails is left alone, longer each time.

A unit whose /health answers may still fail every call. So a probe alone does not bring it back
whole: after a failed call it is on trial, with one job at a time, until a call is answered.
"""

import asyncio
import time
from collections.abc import Callable

from common.duty import Backoff


class UnitHealth:
    """Down until a probe succeeds, and down again with each fault.

    `changed` is called when it went up or down, `trusted` when a trial ended well.
    """

    def __init__(self, longest_wait_s: float) -> None:
        self._backoff = Backoff(first_s=0.5, longest_s=longest_wait_s)
        self._alone_until = 0.0
        self._silent_since: float | None = None
        self._faulted = asyncio.Event()
        self.up = False
        self.on_trial = False
        self.reason = "not probed yet"
        self.changed: Callable[[], None] = lambda: None
        self.trusted: Callable[[], None] = lambda: None

    @property
    def may_probe(self) -> bool:
        """Whether the time to leave the unit alone is over."""
        return time.monotonic() >= self._alone_until

    @property
    def silent_s(self) -> float:
        """For how long /health has not answered; 0 when it does."""
        return 0.0 if self._silent_since is None else time.monotonic() - self._silent_since

    def failed(self, reason: str) -> None:
        """A call failed in a way that says the unit is unwell."""
        self.on_trial = True
        self._leave_alone(reason)

    def unanswered(self) -> None:
        """A probe was not answered as it should be."""
        if self._silent_since is None:
            self._silent_since = time.monotonic()
        self._leave_alone("its /health does not answer")

    def answered(self) -> None:
        """A call was answered as it should be."""
        self._backoff.succeeded()
        if self.on_trial:
            self.on_trial = False
            self.trusted()

    def probed(self) -> None:
        """A probe found the unit well."""
        self._silent_since = None
        self._set(up=True, reason="")

    async def due(self, every_s: float) -> None:
        """Wait for the time of the next probe: that much later, sooner after a fault."""
        self._faulted.clear()
        try:
            async with asyncio.timeout(every_s):
                await self._faulted.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(0.0, self._alone_until - time.monotonic()))

    def _leave_alone(self, reason: str) -> None:
        if self.up or self.may_probe:
            self._alone_until = time.monotonic() + self._backoff.failed()
            self._faulted.set()
        self._set(up=False, reason=reason)

    def _set(self, *, up: bool, reason: str) -> None:
        was, self.up, self.reason = self.up, up, reason
        if was != up:
            self.changed()
