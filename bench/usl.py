"""The Universal Scalability Law, fitted to measured throughput.

N. J. Gunther, "Guerrilla Capacity Planning", Springer 2007, chapters 4 to 6, and "A General Theory
of Computational Scalability Based on Rational Functions", arXiv:0808.1431: of N at a time,

    X(N) = rate * N / (1 + contention * (N - 1) + coherency * N * (N - 1))

Contention is the share of the work that goes one after the other, and bounds X; coherency is the
cost of each for each other, and lets X fall again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Numbers = NDArray[np.float64]

FEWEST_CONCURRENCIES = 4
"""Three parameters cannot be told from fewer points."""


@dataclass(frozen=True, slots=True)
class Fit:
    """`rate`: throughput of one alone. `errors`: ln(measured / fitted) of each measurement."""

    rate: float
    contention: float
    coherency: float
    errors: Numbers

    def throughput(self, concurrency: Numbers | float) -> Numbers:
        return np.exp(_log_throughput(np.array([self.rate, *self._bends()]), concurrency))

    @property
    def rms_error(self) -> float:
        """About the typical relative distance of a measurement from the curve."""
        return float(np.sqrt(np.mean(self.errors**2)))

    @property
    def peak(self) -> float:
        """Where the curve is highest; infinite without coherency cost."""
        if self.coherency <= 0:
            return float("inf")
        return float(np.sqrt((1 - self.contention) / self.coherency))

    def _bends(self) -> tuple[float, float]:
        return self.contention, self.coherency


def fit(concurrencies: Numbers, throughputs: Numbers) -> Fit:
    """Least squares of relative errors. Raises ValueError for too few concurrencies."""
    if len(np.unique(concurrencies)) < FEWEST_CONCURRENCIES:
        raise ValueError(f"a fit needs at least {FEWEST_CONCURRENCIES} concurrencies")
    alone = throughputs[np.argmin(concurrencies)] / concurrencies.min()

    def errors(parameters: Numbers) -> Numbers:
        return np.log(throughputs) - _log_throughput(parameters, concurrencies)

    found = least_squares(
        errors,
        x0=[alone, 0.1, 1e-4],
        bounds=([0, 0, 0], [np.inf, 1, 1]),
        x_scale=[alone, 0.1, 1e-3],
    )
    rate, contention, coherency = map(float, found.x)
    return Fit(rate, contention, coherency, errors(found.x))


def _log_throughput(parameters: Numbers, concurrency: Numbers | float) -> Numbers:
    rate, contention, coherency = parameters
    others = np.asarray(concurrency, dtype=np.float64) - 1
    bend = 1 + contention * others + coherency * (others + 1) * others
    return np.asarray(np.log(rate) + np.log(others + 1) - np.log(bend))
