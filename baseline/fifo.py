"""One shared queue: jobs leave in the order they came, each to the unit with the least load."""

from baseline.pool import Job, Pool
from common.keys import JobClass


class Fifo:
    """Late binding without classes: the head waits until some unit has a slot for it."""

    keeps_slots = True

    def queue_of(self, _job_class: JobClass) -> str:
        return "shared"

    def role_of(self, _unit: str) -> JobClass | None:
        return None

    def decide(self, pool: Pool, job: Job) -> str | None:
        unit = pool.least_loaded(unit for unit in pool.units if unit.has_slot(job.job_class))
        return unit.name if unit else None
