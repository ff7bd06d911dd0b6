"""What a policy sees and what it answers: units with their jobs in flight, and where a job goes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from common.keys import JobClass


@dataclass(frozen=True, slots=True)
class Job:
    """A request that waits to be placed; `submitted_s` is on the clock of who asks."""

    id: str
    job_class: JobClass
    submitted_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as it is now: jobs in flight, and how many of one class fill it alone."""

    name: str
    limit_short: int
    limit_long: int
    short: int = 0
    long: int = 0

    @property
    def in_flight(self) -> int:
        return self.short + self.long

    @property
    def load(self) -> float:
        """The weighted load of AdaSplit's slots: 1 is full."""
        return self.short / self.limit_short + self.long / self.limit_long

    def has_slot(self, job_class: JobClass) -> bool:
        """Whether the load stays ≤ 1 with one job more; in whole numbers, so that full is full."""
        short = self.short + (job_class == "short")
        long = self.long + (job_class == "long")
        return short * self.limit_long + long * self.limit_short <= (
            self.limit_short * self.limit_long
        )


@dataclass(frozen=True, slots=True)
class Pool:
    """All units, always in the same order, and how many jobs were placed so far."""

    units: tuple[Unit, ...]
    placed: int = 0

    def least_loaded(self, units: Iterable[Unit]) -> Unit | None:
        """The one with the least weighted load; who comes first among equals goes around."""
        return min(units, key=lambda unit: (unit.load, self._turn(unit)), default=None)

    def fewest_in_flight(self, units: Iterable[Unit]) -> Unit | None:
        """The one with the fewest jobs; who comes first among equals goes around."""
        return min(units, key=lambda unit: (unit.in_flight, self._turn(unit)), default=None)

    def _turn(self, unit: Unit) -> int:
        return (self.units.index(unit) - self.placed) % len(self.units)


class Policy(Protocol):
    """Where jobs wait and where they go; pure: the same pool and job give the same answer."""

    @property
    def keeps_slots(self) -> bool:
        """Whether a job waits for a free slot; else it goes on at once, however full a unit is."""
        ...

    def queue_of(self, job_class: JobClass) -> str:
        """The queue in which a job of this class waits. Only the head of a queue is decided on."""
        ...

    def role_of(self, unit: str) -> JobClass | None:
        """The class that a unit is kept for; None when it takes any."""
        ...

    def decide(self, pool: Pool, job: Job) -> str | None:
        """The name of the unit that takes the job now; None when it waits."""
        ...
