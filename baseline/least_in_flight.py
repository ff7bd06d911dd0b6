"""Least in flight: every job goes at once to the unit with the fewest jobs; no slots, no queue."""

from baseline.pool import Job, Pool
from common.keys import JobClass


class LeastInFlight:
    """What a balancer set to least connections does: a document counts as much as a chat."""

    keeps_slots = False

    def queue_of(self, job_class: JobClass) -> str:
        return job_class

    def role_of(self, _unit: str) -> JobClass | None:
        return None

    def decide(self, pool: Pool, _job: Job) -> str | None:
        unit = pool.fewest_in_flight(pool.units)
        return unit.name if unit else None
