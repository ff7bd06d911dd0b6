"""The estimator: when a waiting job starts, by its place, the queue's drain, and past estimates.

Virtual time says when a job's turn comes, whatever other owners do meanwhile: its speed is
measured, and it slows down as more of them share. Where jobs may overtake, by size or priority,
those that will come are counted as well. What that is wrong by, of late, is learnt per class: the
median ratio of real to estimated waits.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from common.keys import CLASSES, JobClass
from common.models import NewJob, Standing
from gateway.watcher import Watcher

_LEARNT = 40
"""The correction is the median of so many starts."""

_ALIKE = 2.0
"""Of these only those count whose wait was estimated so many times as long at most, or as short."""

_DOUBT = 4.0
"""Starts without any correction that are taken for seen before the first was."""

_MOST = 8.0
"""No correction is larger."""

_CLOSE = 0.2
NEAR_S = 0.25
"""What is wrong by less is wrong by less than anybody notices."""

_LATE_KEPT = 200
"""How late jobs count, for their size or priority, is known of so many that came last."""

_STEPS = 30

_LONGEST_RETRY_S = 119
"""The OpenAI SDK ignores a Retry-After of 120 s and more."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds until a job starts: as the model says, and as it is told."""

    raw_s: float
    told_s: float

    def result(self, waited_s: float) -> str:
        """Whether it came true: close is within 20 % of the time that the job then really waited.

        near: not that, but within a quarter of a second.
        """
        wrong_s = abs(self.told_s - waited_s)
        if wrong_s <= _CLOSE * waited_s:
            return "close"
        if wrong_s <= NEAR_S:
            return "near"
        return "early" if waited_s < self.told_s else "late"


class Estimator:
    """Learns from each start that it was told of."""

    def __init__(self, watcher: Watcher, priority_step_s: float = 30.0) -> None:
        self._watcher = watcher
        self._priority_step_s = priority_step_s
        self._ratios: dict[JobClass, deque[tuple[float, float]]] = {
            name: deque(maxlen=_LEARNT) for name in CLASSES
        }
        self._late_s: dict[JobClass, deque[float]] = {
            name: deque(maxlen=_LATE_KEPT) for name in CLASSES
        }

    def came(self, job: NewJob) -> None:
        """A job was submitted: how late it counts says what may overtake others."""
        late_s = self._watcher.policy.later_s(job.job_class, job.tokens)
        self._late_s[job.job_class].append(late_s + job.priority * self._priority_step_s)

    def of(self, job_class: JobClass, standing: Standing) -> Estimate | None:
        """None while units take none."""
        rate = self._rate(job_class, standing)
        if not rate:
            return None
        before = standing.position if standing.distance is None else standing.lane
        raw_s = self._with_newcomers(job_class, standing, before + 1, rate)
        raw_s = max(0.001, min(raw_s, self._starved_s(job_class, standing)))
        return Estimate(raw_s, raw_s * self._correction(job_class, raw_s))

    def retry_after_s(self, job_class: JobClass, depth: int) -> int:
        """When the jobs that wait now are taken: whole seconds, at least 1, below 120."""
        rate = self._watcher.drain(job_class).capacity
        if not rate:
            return _LONGEST_RETRY_S
        raw_s = depth / rate
        told_s = raw_s * self._correction(job_class, raw_s)
        return max(1, min(_LONGEST_RETRY_S, math.ceil(told_s)))

    def started(self, job_class: JobClass, estimate: Estimate, waited_s: float) -> str:
        """Learn how an estimate came true, and say it: close, near, early or late."""
        ratio = min(_MOST, max(1 / _MOST, max(waited_s, 0.001) / estimate.raw_s))
        self._ratios[job_class].append((estimate.raw_s, math.log(ratio)))
        return estimate.result(waited_s)

    def _rate(self, job_class: JobClass, standing: Standing) -> float:
        """Jobs a second that leave the lane, or the class where virtual time says nothing."""
        drain = self._watcher.drain(job_class)
        if standing.distance is not None and drain.virtual:
            return drain.virtual / standing.step
        return drain.capacity if standing.distance is None else drain.capacity * standing.share

    def _with_newcomers(
        self, job_class: JobClass, standing: Standing, jobs: float, rate: float
    ) -> float:
        """When so many jobs are taken, and those that come meanwhile and go before.

        The time at which what is taken has caught up; what overtakes grows ever slower, so that
        halving finds it.
        """
        late_s = self._late_s[job_class]
        arrivals = self._watcher.drain(job_class).arrivals * standing.share
        windows = [max(0.0, standing.until_s - each) for each in late_s]
        if not arrivals or not any(windows):
            return jobs / rate
        low, high = jobs / rate, (jobs + arrivals * fmean(windows)) / rate
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if middle * rate < jobs + arrivals * _overtake(windows, middle):
                low = middle
            else:
                high = middle
        return high

    def _starved_s(self, job_class: JobClass, standing: Standing) -> float:
        """When it goes first for its age alone, under the adaptive policy."""
        policy = self._watcher.policy
        rate = self._watcher.drain(job_class).capacity
        if not (policy.adaptive and policy.starvation_bound_s and rate):
            return math.inf
        wait_s = (standing.older + 1) * policy.adaptive_oldest_every / rate
        return max(0.0, policy.starvation_bound_s - standing.age_s) + wait_s

    def _correction(self, job_class: JobClass, raw_s: float) -> float:
        alike = [
            ratio
            for other_s, ratio in self._ratios[job_class]
            if raw_s / _ALIKE <= other_s <= raw_s * _ALIKE
        ]
        return math.exp(median(alike) * len(alike) / (len(alike) + _DOUBT)) if alike else 1.0


def _overtake(windows: Sequence[float], until_s: float) -> float:
    """For how much of the time until then a newcomer goes before, on average."""
    return fmean(min(until_s, window) for window in windows)
