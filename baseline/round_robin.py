"""Round robin: every job goes at once to the next unit in turn; no slots, no queue."""

from baseline.pool import Job, Pool
from common.keys import JobClass


class RoundRobin:
    """What a plain load balancer does: jobs queue inside the units."""

    keeps_slots = False

    def queue_of(self, job_class: JobClass) -> str:
        return job_class

    def role_of(self, _unit: str) -> JobClass | None:
        return None

    def decide(self, pool: Pool, _job: Job) -> str | None:
        return pool.units[pool.placed % len(pool.units)].name
