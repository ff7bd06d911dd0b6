"""What a Prometheus counter or histogram grew by between two readings, across restarts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Count:
    """A counter's value, and when it was made (Unix seconds), where the page says so."""

    value: float
    made_s: float | None = None

    def since(self, earlier: "Count") -> float:
        """By how much it grew; a counter that was made anew has grown from 0."""
        return self.value if self.anew(earlier) else self.value - earlier.value

    def anew(self, earlier: "Count") -> bool:
        """Whether the server was started again in between."""
        # A restarted counter may have passed its old value already: its birth tells, where known.
        born_anew = None not in (self.made_s, earlier.made_s) and self.made_s != earlier.made_s
        return born_anew or self.value < earlier.value


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative counts by upper bound, the last of which is infinity."""

    counts: Mapping[float, float] = field(default_factory=dict)
    made_s: float | None = None

    @property
    def count(self) -> Count:
        return Count(self.counts.get(math.inf, 0.0), self.made_s)

    def since(self, earlier: "Histogram") -> "Histogram":
        """What was observed after `earlier`."""
        if self.count.anew(earlier.count) or self.counts.keys() != earlier.counts.keys():
            return self
        return Histogram(
            {bound: count - earlier.counts[bound] for bound, count in self.counts.items()}
        )

    def plus(self, other: "Histogram") -> "Histogram":
        """Both together; of different buckets, only what has the same ones as `other` counts."""
        if self.counts.keys() != other.counts.keys():
            return other
        return Histogram(
            {bound: count + other.counts[bound] for bound, count in self.counts.items()}
        )

    def quantile(self, rank: float) -> float | None:
        """The value below which the share `rank` lies; None when nothing was observed.

        As Prometheus's `histogram_quantile`: linear within a bucket, the first of which starts at
        0; what lies beyond the last finite bound is given as that bound.
        """
        bounds = sorted(self.counts)
        total = self.counts[bounds[-1]] if bounds else 0.0
        if total <= 0:
            return None
        wanted = rank * total
        below_bound, below_count = 0.0, 0.0
        for bound in bounds:
            count = self.counts[bound]
            if count >= wanted and count > below_count:
                if math.isinf(bound):
                    return below_bound
                inside = (wanted - below_count) / (count - below_count)
                return below_bound + (bound - below_bound) * inside
            below_bound, below_count = bound, count
        return below_bound
