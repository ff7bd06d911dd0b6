"""claim: what a unit may take of the other class, each condition violated in turn."""

import pytest

from common.keys import JobClass
from tests.lua.conftest import Clock, Pool

COOLDOWN_S = 2.0


async def idle_unit(pool: Pool, role: JobClass = "short", idle_s: float = COOLDOWN_S) -> None:
    await pool.unit("a", role=role)
    pool.clock.advance(idle_s)


# Stealing


async def test_an_idle_short_unit_steals_one_long_job_only(pool: Pool) -> None:
    jobs = await pool.submit("long", count=3)
    await idle_unit(pool)
    (job,) = (await pool.claim("a")).jobs
    assert (job.id, job.job_class, job.why) == (jobs[0], "long", "stolen")
    assert await pool.take("a") == []
    assert await pool.active("a") == {"short": 0, "long": 1}
    assert await pool.depth("long") == 2
    (event,) = await pool.events("stolen")
    assert (event["job"], event["role"], event["class"]) == (jobs[0], "short", "long")


async def test_no_steal_by_a_claim_that_may_take_nothing(pool: Pool) -> None:
    await pool.submit("long")
    await idle_unit(pool)
    turn = await pool.store.turn("a", claim=True, most=0)
    assert turn.claim
    assert turn.claim.jobs == ()


async def test_no_steal_while_a_short_job_waits(pool: Pool) -> None:
    await pool.submit("long")
    await idle_unit(pool)
    (short,) = await pool.submit("short")
    assert await pool.take("a") == [short]


async def test_no_steal_while_more_short_jobs_wait_than_are_taken(pool: Pool) -> None:
    await idle_unit(pool)
    await pool.submit("long")
    await pool.submit("short", count=12)
    claim = await pool.claim("a")
    assert {job.job_class for job in claim.jobs} == {"short"}


async def test_no_steal_until_the_unit_was_idle_for_the_cooldown(pool: Pool, clock: Clock) -> None:
    await pool.submit("long")
    await idle_unit(pool, idle_s=COOLDOWN_S - 0.5)
    claim = await pool.claim("a")
    assert claim.jobs == ()
    assert claim.wait_s == 0.5
    clock.advance(0.499)
    assert await pool.take("a") == []
    clock.advance(0.001)
    assert len(await pool.take("a")) == 1


async def test_no_steal_while_something_is_in_flight(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    await pool.one("a")
    await pool.submit("long")
    clock.advance(COOLDOWN_S * 5)
    assert await pool.take("a") == []
    assert await pool.take("a", rasp_steal_cooldown_s=0) == []


async def test_the_idle_time_counts_from_the_end_of_the_last_job(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.submit("long")
    clock.advance(COOLDOWN_S * 5)
    await pool.finish("a", job)
    assert (await pool.claim("a")).wait_s == COOLDOWN_S
    clock.advance(COOLDOWN_S)
    assert len(await pool.take("a")) == 1


async def test_no_steal_when_it_is_switched_off(pool: Pool) -> None:
    await pool.submit("long")
    await idle_unit(pool)
    assert await pool.take("a", rasp_steal=False) == []
    await pool.redis("HSET", pool.keys.policy, "rasp_steal", 0)
    assert await pool.take("a") == []


async def test_a_live_cooldown_counts(pool: Pool) -> None:
    await pool.submit("long")
    await idle_unit(pool)
    await pool.redis("HSET", pool.keys.policy, "rasp_steal_cooldown_s", "2.5")
    assert (await pool.claim("a")).wait_s == 0.5


async def test_a_long_unit_takes_long_jobs_as_its_own(pool: Pool) -> None:
    await pool.submit("long", count=3)
    await idle_unit(pool, role="long")
    claim = await pool.claim("a")
    assert [job.why for job in claim.jobs] == ["own"] * 3


async def test_a_requeued_long_job_can_be_stolen(pool: Pool, clock: Clock) -> None:
    await pool.unit("b", role="long")
    job = await pool.one("b", "long")
    await pool.requeue("b", job)
    await idle_unit(pool)
    (stolen,) = (await pool.claim("a")).jobs
    assert (stolen.id, stolen.attempt, stolen.why) == (job.id, 2, "stolen")


async def test_of_several_idle_units_each_steals_one(pool: Pool, clock: Clock) -> None:
    await pool.unit("a", "b", "c")
    clock.advance(COOLDOWN_S)
    await pool.submit("long", count=5)
    assert [len(await pool.take(name)) for name in ("a", "b", "c")] == [1, 1, 1]


# Borrowing


async def test_a_long_unit_with_nothing_long_borrows_short_jobs(pool: Pool) -> None:
    await pool.unit("a", role="long")
    jobs = await pool.submit("short", count=3)
    claim = await pool.claim("a")
    assert [job.id for job in claim.jobs] == jobs
    assert {job.why for job in claim.jobs} == {"borrowed"}
    assert await pool.active("a") == {"short": 3, "long": 0}


async def test_a_long_unit_borrows_up_to_its_slots(pool: Pool) -> None:
    await pool.unit("a", role="long")
    await pool.submit("short", count=12)
    assert len(await pool.take("a")) == 8
    assert await pool.take("a") == []


async def test_no_borrowing_with_a_long_job_in_flight(pool: Pool) -> None:
    await pool.unit("a", role="long")
    await pool.one("a", "long")
    await pool.submit("short")
    assert await pool.take("a") == []


async def test_no_borrowing_while_a_long_job_waits(pool: Pool) -> None:
    await pool.unit("a", role="long")
    await pool.submit("short")
    (long,) = await pool.submit("long")
    assert await pool.take("a") == [long]


async def test_no_borrowing_when_it_is_switched_off(pool: Pool) -> None:
    await pool.unit("a", role="long")
    await pool.submit("short")
    claim = await pool.claim("a", rasp_long_takes_short=False, starvation_bound_s=0)
    assert (claim.jobs, claim.wait_s) == ((), None)


async def test_a_borrower_leaves_their_share_to_the_waiting_short_units(pool: Pool) -> None:
    await pool.hungry("b", "c")
    await pool.unit("a", role="long")
    await pool.submit("short", count=6)
    assert len(await pool.take("a")) == 2


async def test_a_unit_with_borrowed_jobs_still_takes_long_ones(pool: Pool) -> None:
    await pool.unit("a", role="long")
    await pool.submit("short", count=3)
    await pool.claim("a")
    await pool.submit("long", count=8)
    assert len(await pool.take("a")) == 5


# Starvation


async def starving(pool: Pool, job_class: JobClass, waited_s: float) -> str:
    """A job that has waited, and a busy unit `a` of the other role with a free slot."""
    role: JobClass = "long" if job_class == "short" else "short"
    (job,) = await pool.submit(job_class)
    pool.clock.advance(waited_s)
    await pool.unit("a", role=role)
    await pool.submit(role)
    return job


@pytest.mark.parametrize("job_class", ["short", "long"])
async def test_a_starved_job_is_taken_by_a_unit_of_the_other_role(
    pool: Pool, job_class: JobClass
) -> None:
    job = await starving(pool, job_class, 60.001)
    first, second = (await pool.claim("a")).jobs
    assert (first.id, first.why) == (job, "starved")
    assert second.why == "own"


@pytest.mark.parametrize("job_class", ["short", "long"])
async def test_a_job_has_not_starved_before_the_bound(pool: Pool, job_class: JobClass) -> None:
    await starving(pool, job_class, 60.0)
    claim = await pool.claim("a")
    assert [job.why for job in claim.jobs] == ["own"]
    assert claim.wait_s == 0.001


async def test_a_busy_unit_is_told_when_a_job_will_have_starved(pool: Pool, clock: Clock) -> None:
    job = await starving(pool, "long", 20.0)
    wait_s = (await pool.claim("a")).wait_s
    assert wait_s == 40.001
    clock.advance(wait_s)
    assert await pool.take("a") == [job]


async def test_a_bound_of_zero_is_never(pool: Pool) -> None:
    await starving(pool, "long", 500.0)
    claim = await pool.claim("a", starvation_bound_s=0)
    assert [job.why for job in claim.jobs] == ["own"]
    assert claim.wait_s is None


async def test_a_live_bound_counts(pool: Pool) -> None:
    await starving(pool, "long", 11.0)
    await pool.redis("HSET", pool.keys.policy, "starvation_bound_s", 10)
    assert [job.why for job in (await pool.claim("a")).jobs] == ["starved", "own"]


async def test_a_unit_holds_one_starved_job_at_a_time(pool: Pool) -> None:
    await starving(pool, "long", 61.0)
    (second,) = await pool.submit("long", count=1)
    starved, _ = (await pool.claim("a")).jobs
    pool.clock.advance(61.0)
    assert await pool.take("a") == []
    await pool.finish("a", starved)
    assert await pool.take("a") == [second]


async def test_a_full_unit_takes_no_starved_job(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit("short", count=8)
    await pool.claim("a")
    await pool.submit("long")
    pool.clock.advance(61.0)
    assert await pool.take("a") == []


async def test_a_requeued_job_starves_from_when_it_was_submitted(pool: Pool) -> None:
    await pool.unit("b", role="long")
    job = await pool.one("b", "long")
    pool.clock.advance(61.0)
    await pool.requeue("b", job)
    await pool.unit("a")
    await pool.submit("short")
    assert [job.why for job in (await pool.claim("a")).jobs] == ["starved", "own"]


async def test_starvation_overrides_the_switches(pool: Pool) -> None:
    job = await starving(pool, "short", 61.0)
    taken = await pool.take("a", rasp_steal=False, rasp_long_takes_short=False)
    assert job in taken


# Hints


async def test_a_unit_with_nothing_to_wait_for_waits_for_a_wake_up(pool: Pool) -> None:
    await pool.unit("a")
    claim = await pool.claim("a")
    assert (claim.jobs, claim.wait_s, claim.role) == ((), None, "short")
    assert await pool.is_hungry("a")


async def test_a_full_unit_is_not_hungry(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=8)
    await pool.claim("a")
    assert not await pool.is_hungry("a")


async def test_the_sooner_of_two_hints_counts(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    await pool.submit("long")
    clock.advance(1.0)
    assert (await pool.claim("a")).wait_s == 1.0
    assert (await pool.claim("a", starvation_bound_s=1.5)).wait_s == 0.501
