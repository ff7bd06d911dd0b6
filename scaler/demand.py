"""What short jobs bring: how many arrive a second, and how long their prefill takes."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Demand:
    """Of late. `job_s` is the prefill time of a usual short job."""

    jobs_per_s: float = 0.0
    job_s: float = 0.0

    @property
    def load(self) -> float:
        """Seconds of prefill that arrive in a second: units that are busy with nothing else."""
        return self.jobs_per_s * self.job_s


class DemandMeter:
    """Follows a counter of arrivals; what came `memory_s` ago counts a third of what comes now."""

    def __init__(self) -> None:
        self._seen: tuple[float, int] | None = None
        self._jobs = 0.0
        self._watched_s = 0.0
        self._job_s = 0.0

    def look(self, now_s: float, arrived: int, job_s: float | None, memory_s: float) -> Demand:
        """`arrived` ever grows; `job_s` is None when there is nothing to tell it from."""
        if self._seen is not None:
            before_s, before = self._seen
            passed_s = max(0.0, now_s - before_s)
            # A Redis without its memory counts from 0 again.
            came = max(0, arrived - before)
            # It came bit by bit, however long nobody looked: some of it is forgotten already.
            past = passed_s / memory_s
            kept = -math.expm1(-past) / past if past else 1.0
            self._jobs = self._jobs * math.exp(-past) + kept * came
            self._watched_s += passed_s
            if job_s is not None:
                share = 1 - math.exp(-passed_s / memory_s)
                self._job_s += (job_s - self._job_s) * (share if self._job_s else 1)
        self._seen = now_s, arrived
        # Of what a meter that has just started would remember, it has seen only a part.
        remembered_s = memory_s * -math.expm1(-self._watched_s / memory_s)
        return Demand(self._jobs / remembered_s if remembered_s else 0.0, self._job_s)
