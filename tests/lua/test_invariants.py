"""What holds after any sequence of calls: counters are leases, and a job has one outcome."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from common.keys import CLASSES, JobClass
from common.models import ClaimedJob, Lease, Outcome, Part
from tests.lua.conftest import Pool, fake_connection, new_pool

UNITS = ("a", "b", "c")
LIMITS = {"worker_concurrency_limit_short": 4, "worker_concurrency_limit_long": 2}

classes = st.sampled_from(CLASSES)
units = st.sampled_from(UNITS)
picks = st.integers(0, 30)
steps = st.one_of(
    st.tuples(st.just("submit"), classes, st.sampled_from([5.0, 100.0])),
    st.tuples(st.just("claim"), units),
    st.tuples(st.just("finish"), picks, st.sampled_from(["ok", "failed", "cancelled"])),
    st.tuples(st.just("requeue"), picks, st.booleans()),
    st.tuples(st.just("reclaim"), units),
    st.tuples(st.just("renew"), units),
    st.tuples(st.just("cancel"), picks),
    st.tuples(st.just("advance"), st.sampled_from([0.5, 2.0, 16.0, 61.0])),
    st.tuples(st.just("role"), units, classes),
    st.tuples(st.just("resubmit"), picks),
)


class Play:
    """A pool, and what its dispatchers and gateways believe; they never forget an old attempt."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.jobs: list[tuple[str, JobClass]] = []
        self.claimed: list[tuple[str, ClaimedJob]] = []
        self.finishes: Counter[str] = Counter()

    async def submit(self, job_class: JobClass, timeout_s: float) -> None:
        (job,) = await self.pool.submit(job_class, timeout_s=timeout_s)
        self.jobs.append((job, job_class))

    async def resubmit(self, pick: int) -> None:
        if self.jobs:
            job, job_class = self.jobs[pick % len(self.jobs)]
            again = await self.pool.try_submit(job_class, id=job)
            assert again.status == "exists"

    async def claim(self, unit: str) -> None:
        claim = await self.pool.claim(unit, **LIMITS)
        self.claimed += [(unit, job) for job in claim.jobs]

    async def finish(self, pick: int, outcome: Outcome) -> None:
        if self.claimed:
            unit, job = self.claimed[pick % len(self.claimed)]
            end = Part(job.id, job.attempt, "end", b"{}")
            finish = self.pool.finished(job, outcome, parts=(end,))
            (answer,) = (await self.pool.store.turn(unit, finishes=[finish])).finished
            self.finishes[job.id] += answer == "OK"

    async def requeue(self, pick: int, spared: bool) -> None:  # noqa: FBT001  # drawn, not written
        if self.claimed:
            unit, job = self.claimed[pick % len(self.claimed)]
            await self.pool.requeue(unit, job, spared=spared)

    async def reclaim(self, unit: str) -> None:
        for lease, gateway in await self.pool.views.lapsed(unit, self.pool.clock()):
            await self._reclaim(unit, lease, gateway)

    async def _reclaim(self, unit: str, lease: Lease, gateway: str) -> None:
        store = self.pool.store
        answer = await store.requeue(unit, lease, gateway, "lapsed", lapsed_only=True)
        assert answer in {"OK", "DEAD", "CANCELLED"}

    async def renew(self, unit: str) -> None:
        held = [(job.id, job.attempt) for name, job in self.claimed if name == unit]
        await self.pool.store.renew(unit, held)

    async def cancel(self, pick: int) -> None:
        if self.jobs:
            await self.pool.cancel(*self.jobs[pick % len(self.jobs)])

    async def advance(self, seconds: float) -> None:
        self.pool.clock.advance(seconds)

    async def role(self, unit: str, role: JobClass) -> None:
        await self.pool.unit(unit, role=role)

    async def check(self) -> None:
        known = {job: await self.pool.job(job) for job, _ in self.jobs}
        held = 0
        for unit in UNITS:
            held += await self._check_unit(unit, known)
        states = Counter(job["state"] for job in known.values())
        assert held == states["running"]
        pending = [await self.pool.consumers(name) for name in CLASSES]
        waits_again = sum(
            [await self.pool.redis("ZCARD", self.pool.keys.requeued(name)) for name in CLASSES]
        )
        assert held == sum(sum(each.values()) for each in pending) - waits_again
        assert sum([await self.pool.depth(name) for name in CLASSES]) == states["queued"]
        await self._check_outcomes(known)

    async def _check_unit(self, unit: str, known: dict[str, dict[str, str]]) -> int:
        leases = await self.pool.leases(unit)
        active = await self.pool.active(unit)
        counted = Counter(known[job]["class"] for job in leases)
        assert active == {name: counted[name] for name in CLASSES}
        assert min(active.values()) >= 0
        assert active["short"] / 4 + active["long"] / 2 <= 1
        assert all(known[job]["unit"] == unit for job in leases)
        idle = await self.pool.idle_since(unit) is not None
        assert idle == (not leases)
        return len(leases)

    async def _check_outcomes(self, known: dict[str, dict[str, str]]) -> None:
        said = [name for batch in await self.pool.replies() for name in batch]
        ends = Counter(name.partition(":")[0] for name in said if name.endswith(":end"))
        for job, fields in known.items():
            assert ends[job] == (fields["state"] == "finished")
            assert self.finishes[job] <= 1


@given(st.lists(steps, min_size=5, max_size=40))
@settings(max_examples=80)
async def test_any_sequence_of_calls_keeps_the_books(sequence: list[tuple[Any, ...]]) -> None:
    async with fake_connection() as connection:
        play = Play(await new_pool(connection))
        await play.pool.unit(*UNITS)
        for name, *drawn in sequence:
            await getattr(play, name)(*drawn)
            await play.check()
        assert await play.pool.leaked_keys() == []
