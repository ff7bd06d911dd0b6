"""Where throughput stops growing: the knee of a fitted curve, with what is known of its place."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

import numpy as np

from bench.closedloop import Point
from bench.usl import Fit, Numbers, fit

TOLERANCE = 0.05
"""The knee is the fewest at a time whose throughput is within this share of the best."""

STILL_GROWING = 0.10
"""Throughput still grows when the last doubling of the sweep gained more than this."""
RESAMPLES = 400
_GRID = 4000


@dataclass(frozen=True, slots=True)
class Knee:
    """The verdict on one class.

    `at` is None when throughput still grew at `most`, the end of the sweep: then there is no knee
    to be seen. `low` and `high` bound it with 95 %; None there lies beyond the sweep. `gain` is
    what the last doubling gained; `growing_share` says in how many of the resamples it still grew.
    """

    size_class: str
    at: float | None
    low: float | None
    high: float | None
    most: int
    gain: float
    growing_share: float
    fitted: Fit

    @property
    def limit(self) -> int:
        """The concurrency to set: the first from the knee on, or else the most that was tried."""
        return self.most if self.at is None else ceil(self.at)


def find_knee(
    size_class: str, points: Iterable[Point], seed: int = 0, resamples: int = RESAMPLES
) -> Knee:
    """The knee of one class. Raises ValueError for too few concurrencies.

    Uncertainty: residual bootstrap (B. Efron, R. Tibshirani, "An Introduction to the Bootstrap",
    1993, section 9.4). Relative errors of the fit, widened by the parameters it took, are dealt
    anew; thus what the curve cannot follow counts as noise as well.
    """
    pairs = sorted(
        (point.concurrency, point.requests_per_s) for point in points if point.requests_per_s
    )
    concurrencies = np.array([pair[0] for pair in pairs], dtype=np.float64)
    throughputs = np.array([pair[1] for pair in pairs], dtype=np.float64)
    fitted = fit(concurrencies, throughputs)
    most = int(concurrencies.max())
    dice = np.random.default_rng(seed)
    found = [_again(fitted, concurrencies, most, dice) for _ in range(resamples)]
    low, high = np.quantile(found, [0.025, 0.975], method="closest_observation")
    gain = _last_doubling(fitted, most)
    return Knee(
        size_class=size_class,
        at=None if gain > STILL_GROWING else _place(fitted, most),
        low=_known(low),
        high=_known(high),
        most=most,
        gain=gain,
        growing_share=float(np.mean(np.isinf(found))),
        fitted=fitted,
    )


def _again(fitted: Fit, concurrencies: Numbers, most: int, dice: np.random.Generator) -> float:
    """The knee in one resample; infinite when throughput still grew."""
    widened = fitted.errors * np.sqrt(len(concurrencies) / max(1, len(concurrencies) - 3))
    dealt = dice.choice(widened, size=len(widened))
    again = fit(concurrencies, fitted.throughput(concurrencies) * np.exp(dealt))
    growing = _last_doubling(again, most) > STILL_GROWING
    return np.inf if growing else _place(again, most)


def _place(fitted: Fit, most: int) -> float:
    tried = np.linspace(1, most, _GRID)
    curve = fitted.throughput(tried)
    return float(tried[np.argmax(curve >= (1 - TOLERANCE) * curve.max())])


def _last_doubling(fitted: Fit, most: int) -> float:
    half, whole = fitted.throughput(np.array([most / 2, most]))
    return float(whole / half - 1)


def _known(place: float) -> float | None:
    return None if np.isinf(place) else float(place)
