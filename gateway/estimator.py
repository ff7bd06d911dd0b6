"""The estimator: when a waiting job starts, by the drain of its queue and how that came true."""

import math
from dataclasses import dataclass

from common.keys import CLASSES, JobClass
from gateway.watcher import Watcher

_LEARNT = 0.1
"""Share of each start that the correction learns from: about the last ten decide."""

_MOST = 8.0
"""No correction is larger: one odd start is not to spoil the next words."""

_CLOSE = 0.2

_LONGEST_RETRY_S = 119
"""The OpenAI SDK ignores a Retry-After of 120 s and more."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds until a job starts: as the drain alone says, and as it is told."""

    raw_s: float
    told_s: float

    def result(self, waited_s: float) -> str:
        """Whether it came true, within 20 % of the time that the job really waited."""
        if abs(self.told_s - waited_s) <= _CLOSE * waited_s:
            return "close"
        return "early" if waited_s < self.told_s else "late"


class Estimator:
    """Learns per class: order and bursts make the drain alone wrong by a steady factor."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._correction: dict[JobClass, float] = dict.fromkeys(CLASSES, 1.0)

    def of_new(self, job_class: JobClass) -> Estimate | None:
        """Of a job that was queued just now; None when none waited before it, or none is taken."""
        ahead = self._watcher.depth(job_class)
        return self.behind(job_class, ahead) if ahead else None

    def behind(self, job_class: JobClass, ahead: int) -> Estimate | None:
        """Of a job with so many before it; None when units take none."""
        # The job itself is one more that has to be taken.
        raw_s = self._watcher.wait_s(job_class, ahead + 1)
        return None if raw_s is None else Estimate(raw_s, raw_s * self._correction[job_class])

    def retry_after_s(self, job_class: JobClass, depth: int) -> int:
        """When the jobs that wait now are taken: whole seconds, at least 1, below 120."""
        estimate = self.behind(job_class, depth - 1)
        if estimate is None:
            return _LONGEST_RETRY_S
        return max(1, min(_LONGEST_RETRY_S, math.ceil(estimate.told_s)))

    def started(self, job_class: JobClass, estimate: Estimate, waited_s: float) -> str:
        """Learn how an estimate came true, and say it: close, early or late."""
        ratio = min(_MOST, max(1 / _MOST, waited_s / estimate.raw_s))
        before = self._correction[job_class]
        # Ratios are as often half as double: their logarithms have a mean that says something.
        self._correction[job_class] = before * math.pow(ratio / before, _LEARNT)
        return estimate.result(waited_s)
