"""Sees all that the adaptive decision needs, of a large pool a part at a time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from common.models import PoolView, Prefilling, UnitView
from common.policy import Policy
from common.prefill import Prefill, brought_s, left_s
from common.survey import Surveyed
from common.tallies import Tally
from common.views import Views
from scaler.adaptive import Snapshot, UnitWork
from scaler.demand import DemandMeter

AT_A_LOOK = 64
"""Units that a look reads. A pool of no more is seen as a whole each time."""

_TRIES = 4
"""Units that a look reads again, one after the other, as each was to be chosen."""


class Choice(Protocol):
    """What a decision chooses: something that is to happen to a unit."""

    @property
    def unit(self) -> str: ...


Chosen = TypeVar("Chosen", bound=Choice)


@dataclass(frozen=True, slots=True)
class _Known:
    """A unit as it was when it was read, with the work that it then had before it."""

    unit: UnitView
    work: UnitWork
    short_tokens: int
    long: tuple[Prefilling, ...]


class Surveyor:
    """Remembers what arrived of late, and how units were when their turn to be read came last.

    What is counted exactly, whatever the size: the queues, and what arrives. Of units a sum is as
    right as before, only somewhat older; what happens to a single one is decided on what it does
    now.
    """

    def __init__(self, views: Views) -> None:
        self._views = views
        self._meter = DemandMeter()
        self._known: dict[str, _Known] = {}
        self._due: list[str] = []
        self._fresh: set[str] = set()
        self._seen: Snapshot | None = None

    async def look(self, tally: Tally, policy: Policy) -> Snapshot:
        """What units do at the time of a tally, with what arrived until then."""
        self._tally, self._policy = tally, policy
        if not self._due:
            self._due = await self._views.unit_names()
            self._known = {name: self._known[name] for name in self._due if name in self._known}
        # Who knows nobody begins with all of them: a part of a pool is not to be taken for it.
        at_once = AT_A_LOOK if self._known else len(self._due)
        names, self._due = self._due[:at_once], self._due[at_once:]
        self._fresh.clear()
        await self._read(names)
        self._stealing = await self._views.stealing()
        queue = tally.queues["short"]
        self._demand = self._meter.look(
            tally.now_ms / 1000,
            queue.taken + queue.depth,
            self._usual_s(),
            policy.adaptive_memory_s,
        )
        self._seen = None
        return self.seen()

    def rest(self) -> None:
        """Another policy decides now, or another scaler: what was known grows old."""
        self._known, self._due = {}, []

    def seen(self) -> Snapshot:
        """The pool as far as it is known by now."""
        if self._seen is None:
            self._seen = self._snapshot()
        return self._seen

    def _snapshot(self) -> Snapshot:
        tally, known = self._tally, self._known.values()
        return Snapshot(
            view=PoolView(
                now_ms=tally.now_ms,
                units=tuple([one.unit for one in known]),
                queues=tally.queues,
                overrides=tally.overrides,
                body_bytes=tally.body_bytes,
                dead=tally.dead,
                stealing=self._stealing,
            ),
            work={name: one.work for name, one in self._known.items()},
            demand=self._demand,
            next_long_s=self._next_long_s,
            prefilling=tuple([job for one in known for job in one.long]),
        )

    async def choose(self, decide: Callable[[Snapshot], Chosen | None]) -> Chosen | None:
        """What is decided, once the unit that it chooses was read in this look."""
        for _ in range(_TRIES):
            chosen = decide(self.seen())
            if chosen is None or chosen.unit in self._fresh:
                return chosen
            before = self._known.get(chosen.unit)
            await self._read([chosen.unit])
            if before == self._known.get(chosen.unit):
                return chosen
        return None

    async def _read(self, names: Sequence[str]) -> None:
        survey = await self._views.survey(names)
        tokens = survey.next_long_tokens
        self._next_long_s = self._policy.prefill_s(tokens) if tokens else 0.0
        for name in names:
            self._known.pop(name, None)
        self._known |= {seen.unit.name: self._worked(seen) for seen in survey.units}
        self._fresh.update(names)
        self._seen = None

    def _worked(self, seen: Surveyed) -> _Known:
        long = tuple(job for job in seen.prefilling if job.job_class == "long")
        short = (job for job in seen.prefilling if job.job_class == "short")
        work = _work(self._prefills(short), self._prefills(long), self._policy, seen.unit.pace)
        return _Known(seen.unit, work, seen.short_tokens, long)

    def _prefills(self, jobs: Iterable[Prefilling]) -> list[Prefill]:
        now_ms = self._tally.now_ms
        return [
            Prefill(job.tokens, max(0, now_ms - job.claimed_ms) / 1000, job.streams) for job in jobs
        ]

    def _usual_s(self) -> float | None:
        """The prefill of a usual short prompt, of those in flight."""
        jobs = sum([one.unit.short for one in self._known.values()])
        tokens = sum([one.short_tokens for one in self._known.values()])
        return self._policy.prefill_s(round(tokens / jobs)) if jobs and tokens else None


def _work(
    short: Sequence[Prefill], long: Sequence[Prefill], policy: Policy, pace: float
) -> UnitWork:
    return UnitWork(
        short_s=brought_s(short, policy, pace),
        long_s=left_s(long, policy, pace),
        long_prefills=sum(left_s([job], policy, pace) > 0 for job in long),
    )
