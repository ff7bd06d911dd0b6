"""Values with their times, young and few enough to keep: quantiles and rates of the last while."""

import math
from collections import deque
from collections.abc import Sequence

QUANTILES = (0.5, 0.95, 0.99)


class Window:
    """At most `most` values, none older than `span_s`; times are Redis's clock, and grow."""

    def __init__(self, span_s: float, most: int = 5000) -> None:
        self._span_ms = span_s * 1000
        self._values: deque[tuple[int, float]] = deque(maxlen=most)

    def add(self, at_ms: int, value: float) -> None:
        self._values.append((at_ms, value))

    def forget_before(self, now_ms: int) -> None:
        """Let go of what is older than the span at now_ms."""
        while self._values and self._values[0][0] < now_ms - self._span_ms:
            self._values.popleft()

    def last(self, now_ms: int, span_s: float) -> list[float]:
        """The values of the last span_s."""
        found = []
        for at_ms, value in reversed(self._values):
            if at_ms < now_ms - span_s * 1000:
                break
            found.append(value)
        return found

    def per_second(self, now_ms: int, span_s: float) -> float:
        """How many came per second, over span_s, or over what is kept of it when that is less."""
        count = len(self.last(now_ms, span_s))
        if count and count == self._values.maxlen:
            span_s = max(0.001, (now_ms - self._values[0][0]) / 1000)
        return count / span_s

    def quantiles(self, now_ms: int, span_s: float) -> dict[str, float | int | None]:
        """`p50`, `p95`, `p99` of the last span_s and how many they are of; None of none."""
        values = sorted(self.last(now_ms, span_s))
        named = {f"p{share * 100:.0f}": quantile(values, share) for share in QUANTILES}
        return named | {"count": len(values)}


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
