"""How fast a class's queue moves, from looks at it: starts, arrivals, and virtual time."""

from common.models import QueueView
from common.ratio import DecayedRatio

_STARTS = 100.0
"""About as many starts decide: fewer are noise, more are of another time."""

_FASTEST, _SLOWEST = 0.05, 0.005
"""Shares of the past that a second takes away at most and at least."""

_MOST = 0.5
"""What one look takes away at most, however late it comes."""


class Drain:
    """Rates of one class, each a second; None while nothing tells them."""

    def __init__(self) -> None:
        self._starts = DecayedRatio(_FASTEST)
        self._backlogged = DecayedRatio(_FASTEST)
        self._arrivals = DecayedRatio(_FASTEST)
        self._virtual = DecayedRatio(_FASTEST)

    @property
    def starts(self) -> float:
        """Jobs that units took, of late, whether or not others waited."""
        return self._starts.value or 0.0

    @property
    def capacity(self) -> float:
        """Jobs that units take while others wait; all that they took where none ever did."""
        return self._backlogged.value or self.starts

    @property
    def arrivals(self) -> float:
        return self._arrivals.value or 0.0

    @property
    def virtual(self) -> float | None:
        """How fast virtual time goes while jobs wait."""
        return self._virtual.value

    def look(self, before: QueueView, after: QueueView, passed_s: float) -> None:
        """Two looks, one after the other."""
        # Redis without its memory counts from 0 again.
        taken = max(0, after.taken - before.taken)
        came = max(0, taken + after.depth - before.depth)
        wanted = max(_SLOWEST * passed_s, min(_FASTEST * passed_s, taken / _STARTS))
        fade = min(_MOST, wanted)
        for ratio in (self._starts, self._backlogged, self._arrivals, self._virtual):
            ratio.fade = fade
        self._starts.add(taken, passed_s)
        self._arrivals.add(came, passed_s)
        if before.depth and after.depth:
            self._backlogged.add(taken, passed_s)
            moved = (after.virtual or 0.0) - (before.virtual or 0.0)
            if before.virtual is not None and moved >= 0:
                self._virtual.add(moved, passed_s)
