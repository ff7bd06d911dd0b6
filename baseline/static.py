"""Static partition: each unit serves one class for good, and takes a job when it has a slot."""

from collections.abc import Sequence

from baseline.pool import Job, Pool
from common.keys import JobClass


class Static:
    """The first `short` units are for short jobs, the others for long ones."""

    keeps_slots = True

    def __init__(self, units: Sequence[str], short: int) -> None:
        if not 0 < short < len(units):
            raise ValueError(
                f"of {len(units)} units, {short} cannot be Short: each class needs one"
            )
        self._roles: dict[str, JobClass] = {
            unit: "short" if place < short else "long" for place, unit in enumerate(units)
        }

    def queue_of(self, job_class: JobClass) -> str:
        return job_class

    def role_of(self, unit: str) -> JobClass | None:
        return self._roles[unit]

    def decide(self, pool: Pool, job: Job) -> str | None:
        unit = pool.least_loaded(
            unit
            for unit in pool.units
            if self._roles[unit.name] == job.job_class and unit.has_slot(job.job_class)
        )
        return unit.name if unit else None
