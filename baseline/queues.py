"""Who waits and who is in flight: the books of a baseline, on no clock and without asyncio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from baseline.pool import Job, Policy, Pool, Unit
from common.keys import CLASSES, JobClass


class QueueFull(Exception):
    """As many jobs of a class wait as may."""

    def __init__(self, job_class: JobClass, depth: int) -> None:
        super().__init__(f"{depth} {job_class} jobs are waiting")
        self.job_class = job_class
        self.depth = depth


@dataclass(frozen=True, slots=True)
class Placed:
    """A job that leaves its queue for a unit."""

    job: Job
    unit: str


class Queues:
    """Every call answers with the jobs that are placed because of it, in order."""

    def __init__(
        self, policy: Policy, units: Sequence[Unit], max_depth: Mapping[JobClass, int]
    ) -> None:
        self._policy = policy
        self._max_depth = max_depth
        self._units = {unit.name: unit for unit in units}
        self._waiting: dict[str, dict[str, Job]] = {}
        self._in_flight: dict[str, Placed] = {}
        self._placed = 0

    @property
    def units(self) -> tuple[Unit, ...]:
        return tuple(self._units.values())

    def depth(self, job_class: JobClass) -> int:
        return len(self._waiting_of(job_class))

    def oldest_s(self, job_class: JobClass) -> float | None:
        """When the oldest waiting job of a class was submitted; None when none waits."""
        return min((job.submitted_s for job in self._waiting_of(job_class)), default=None)

    def submit(self, job: Job) -> list[Placed]:
        """Put a job behind the others. Raises QueueFull, and then nothing has changed."""
        depth = self.depth(job.job_class)
        if depth >= self._max_depth[job.job_class]:
            raise QueueFull(job.job_class, depth)
        queue = self._waiting.setdefault(self._policy.queue_of(job.job_class), {})
        queue[job.id] = job
        return self._place()

    def end(self, job_id: str) -> list[Placed]:
        """Forget a job, wherever it is: it was answered, it failed, or its client left."""
        placed = self._in_flight.pop(job_id, None)
        if placed:
            self._count(placed, -1)
        else:
            for queue in self._waiting.values():
                queue.pop(job_id, None)
        return self._place()

    def _place(self) -> list[Placed]:
        found: list[Placed] = []
        for queue in self._waiting.values():
            while queue:
                job = next(iter(queue.values()))
                unit = self._policy.decide(Pool(self.units, self._placed), job)
                if unit is None:
                    break
                del queue[job.id]
                found.append(self._into_flight(job, unit))
        return found

    def _into_flight(self, job: Job, unit: str) -> Placed:
        placed = Placed(job, unit)
        self._in_flight[job.id] = placed
        self._placed += 1
        self._count(placed, 1)
        return placed

    def _count(self, placed: Placed, change: int) -> None:
        unit = self._units[placed.unit]
        short, long = (change * (placed.job.job_class == name) for name in CLASSES)
        self._units[placed.unit] = replace(unit, short=unit.short + short, long=unit.long + long)

    def _waiting_of(self, job_class: JobClass) -> list[Job]:
        queue = self._waiting.get(self._policy.queue_of(job_class), {})
        return [job for job in queue.values() if job.job_class == job_class]
