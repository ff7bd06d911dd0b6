"""The last readings of one unit, and what they say of the time between them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from monitor.histogram import Histogram
from monitor.vllm_page import Reading

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Activity:
    """What a unit did within the window; None is what its readings do not tell."""

    requests_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    generation_tokens_per_s: float | None = None
    preemptions_per_s: float | None = None
    prefix_hit_rate: float | None = None
    ttft_p50_s: float | None = None
    ttft_p90_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p90_s: float | None = None
    tpot_p99_s: float | None = None
    e2e_p50_s: float | None = None
    e2e_p99_s: float | None = None
    queue_mean_s: float | None = None


class History:
    """Readings over `window_s` seconds and the one before; times are of any steady clock."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._kept: deque[tuple[float, Reading]] = deque()

    def add(self, at_s: float, reading: Reading) -> None:
        if self._kept and at_s - self._kept[-1][0] > 2 * self._window_s:
            # It was silent for long: what it did meanwhile is not what it does now.
            self._kept.clear()
        self._kept.append((at_s, reading))
        # One that is older than the window stays, so that the window is covered whole.
        while len(self._kept) > 2 and self._kept[1][0] <= at_s - self._window_s:  # noqa: PLR2004 - two make a difference
            self._kept.popleft()

    @property
    def latest_s(self) -> float | None:
        """When the unit last answered."""
        return self._kept[-1][0] if self._kept else None

    def activity(self) -> Activity:
        """All None before the second reading."""
        rates = {
            f"{name}_per_s": self._rate(name)
            for name in ("requests", "prompt_tokens", "generation_tokens", "preemptions")
        }
        quantiles = {
            f"{name}_p{rank}_s": self._quantile(name, rank)
            for name, ranks in (
                ("ttft", (50, 90, 99)),
                ("tpot", (50, 90, 99)),
                ("e2e", (50, 99)),
            )
            for rank in ranks
        }
        return Activity(
            **rates,
            **quantiles,
            prefix_hit_rate=self._ratio("prefix_hits", "prefix_queries"),
            queue_mean_s=self._ratio("queue_s", "queued"),
        )

    def _rate(self, name: str) -> float | None:
        grown = self._grown(name)
        seconds = self._kept[-1][0] - self._kept[0][0] if self._kept else 0.0
        return None if grown is None or seconds <= 0 else grown / seconds

    def _ratio(self, part: str, whole: str) -> float | None:
        above, below = self._grown(part), self._grown(whole)
        return above / below if below and above is not None else None

    def _grown(self, name: str) -> float | None:
        steps = _steps(reading.counts.get(name) for _, reading in self._kept)
        return sum(later.since(earlier) for earlier, later in steps) if steps else None

    def _quantile(self, name: str, rank: int) -> float | None:
        observed = Histogram()
        for earlier, later in _steps(reading.histograms.get(name) for _, reading in self._kept):
            observed = observed.plus(later.since(earlier))
        return observed.quantile(rank / 100)


def _steps(values: Iterable[_Value | None]) -> list[tuple[_Value, _Value]]:
    """Each with the next; nothing when one of them is unknown."""
    known = list(values)
    return list(pairwise(one for one in known if one is not None)) if None not in known else []
