"""Whether the unit can be given jobs; a unit that fails is left alone, longer each time."""

import time
from collections.abc import Callable

from common.duty import Backoff


class UnitHealth:
    """Down until a probe succeeds, and down again with each fault.

    `changed` is called when it went up or down.
    """

    def __init__(self, longest_wait_s: float) -> None:
        self._backoff = Backoff(first_s=0.5, longest_s=longest_wait_s)
        self._alone_until = 0.0
        self.up = False
        self.reason = "not probed yet"
        self.changed: Callable[[], None] = lambda: None

    @property
    def may_probe(self) -> bool:
        """Whether the time to leave the unit alone is over."""
        return time.monotonic() >= self._alone_until

    def fault(self, reason: str) -> None:
        """A call failed in a way that says the unit is unwell."""
        if self.up or self.may_probe:
            self._alone_until = time.monotonic() + self._backoff.failed()
        self._set(up=False, reason=reason)

    def answered(self) -> None:
        """A call was answered as it should be."""
        self._backoff.succeeded()

    def probed(self) -> None:
        """A probe found the unit well."""
        self._set(up=True, reason="")

    def _set(self, *, up: bool, reason: str) -> None:
        was, self.up, self.reason = self.up, up, reason
        if was != up:
            self.changed()
