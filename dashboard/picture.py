"""The pool as RQ's words can tell it: jobs in five places, and units; a pure translation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from common.keys import JobClass
from common.models import DeadView, HeldView, JobView, UnitView

Place = Literal["queued", "started", "finished", "failed", "canceled"]

_PLACES: dict[str, Place] = {
    "ok": "finished",
    "failed": "failed",
    "dead": "failed",
    "cancelled": "canceled",
    "expired": "canceled",
}


@dataclass(frozen=True)
class Shown:
    """A job as it is shown; equal when nothing that is shown has changed."""

    id: str
    job_class: JobClass
    place: Place
    unit: str = ""
    attempt: int = 0
    tokens: int = 0
    status: int = 0
    completion_tokens: int = 0
    reason: str = ""
    submitted_ms: int | None = None
    claimed_ms: int | None = None
    finished_ms: int | None = None


@dataclass(frozen=True)
class Picture:
    """All jobs that are shown, in the order of their queue, and the units that live."""

    jobs: dict[str, Shown]
    units: tuple[UnitView, ...]

    def queue(self, job_class: JobClass) -> list[str]:
        """The waiting jobs of a class, in the order of their places."""
        return [
            job.id
            for job in self.jobs.values()
            if job.place == "queued" and job.job_class == job_class
        ]


def draw(
    units: Sequence[UnitView],
    held: Mapping[str, HeldView],
    dead: Iterable[DeadView],
    waiting: Iterable[str],
    known: Mapping[str, JobView],
) -> Picture:
    """Put every known job in its place. Reads come one after the other: the record decides.

    `waiting` and `known` are in the order in which they are to be shown.
    """
    jobs: dict[str, Shown] = {}
    for letter in dead:
        jobs[letter.job] = _dead(letter, known.get(letter.job))
    running = [job for unit in held.values() for job in unit.jobs]
    for job in (*waiting, *running, *known):
        view = known.get(job)
        if view and job not in jobs and (place := place_of(view)):
            jobs[job] = _shown(view, place)
    return Picture(jobs, tuple(unit for unit in units if unit.alive))


def place_of(job: JobView) -> Place | None:
    """Where a job belongs; None for a dead one: of these `P:dead` decides which are shown."""
    if job.state != "finished":
        return "started" if job.state == "running" else "queued"
    return None if job.outcome == "dead" else _PLACES.get(job.outcome)


def _shown(job: JobView, place: Place) -> Shown:
    claimed = place != "queued"
    return Shown(
        id=job.id,
        job_class=job.job_class,
        place=place,
        unit=job.unit if claimed else "",
        attempt=job.attempt,
        tokens=job.tokens,
        status=job.status,
        completion_tokens=job.completion_tokens,
        reason=" ".join(filter(None, (job.outcome if place != "finished" else "", job.reason))),
        submitted_ms=job.submitted_ms,
        claimed_ms=job.claimed_ms if claimed else None,
        finished_ms=job.finished_ms,
    )


def _dead(letter: DeadView, job: JobView | None) -> Shown:
    # The letter outlives the job's record.
    return Shown(
        id=letter.job,
        job_class=letter.job_class,
        place="failed",
        unit=letter.unit,
        attempt=letter.attempt,
        tokens=job.tokens if job else 0,
        reason=f"dead after attempt {letter.attempt}: {letter.reason}",
        submitted_ms=job.submitted_ms if job else letter.at_ms,
        claimed_ms=job.claimed_ms if job else None,
        finished_ms=letter.at_ms,
    )
