"""When requests come: arrival processes, as times from the start of their source."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Protocol


class Process(Protocol):
    """Draws times in order, all below `end_s`."""

    def times_s(self, dice: random.Random, end_s: float) -> Iterator[float]: ...


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent arrivals, `rate_per_s` on average."""

    rate_per_s: float

    def times_s(self, dice: random.Random, end_s: float) -> Iterator[float]:
        return _poisson(dice, self.rate_per_s, 0.0, end_s)


@dataclass(frozen=True, slots=True)
class OnOff:
    """Bursts: Poisson at one rate for `on_s`, at another for `off_s`, and so on, ON first.

    With `random_periods` these are means of exponential lengths: an interrupted Poisson process.
    """

    rate_per_s: float
    on_s: float
    off_s: float
    off_rate_per_s: float = 0.0
    random_periods: bool = False

    def times_s(self, dice: random.Random, end_s: float) -> Iterator[float]:
        length = self._drawn(dice) if self.random_periods else lambda mean_s: mean_s
        start_s = 0.0
        for rate_per_s, mean_s in cycle(
            ((self.rate_per_s, self.on_s), (self.off_rate_per_s, self.off_s))
        ):
            stop_s = min(end_s, start_s + length(mean_s))
            if rate_per_s:
                yield from _poisson(dice, rate_per_s, start_s, stop_s)
            if stop_s >= end_s:
                return
            start_s = stop_s

    @staticmethod
    def _drawn(dice: random.Random) -> Callable[[float], float]:
        return lambda mean_s: dice.expovariate(1 / mean_s)


def _poisson(
    dice: random.Random, rate_per_s: float, start_s: float, stop_s: float
) -> Iterator[float]:
    at_s = start_s + dice.expovariate(rate_per_s)
    while at_s < stop_s:
        yield at_s
        at_s += dice.expovariate(rate_per_s)
