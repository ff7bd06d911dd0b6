"""finish without a claim: the unit is woken for what comes next, or told what waits already."""

import pytest

from common.keys import JobClass
from common.models import UNBOUNDED, Bounds, ClaimedJob
from tests.lua.conftest import Pool

CLOSED = Bounds(short_tokens=0, long_jobs=0, oldest_every=8)
OPEN = Bounds(short_tokens=1000, long_jobs=1, oldest_every=8)


async def rest(pool: Pool, unit: str, job: ClaimedJob, bounds: Bounds = UNBOUNDED) -> bool:
    """Finish with no claim; answers whether the unit is told to claim."""
    turn = await pool.store.turn(unit, finishes=[pool.finished(job)], bounds=bounds, rest=True)
    assert turn.finished == ("OK",)
    assert turn.claim is None
    return turn.waiting


async def score(pool: Pool, unit: str, role: JobClass = "short") -> float:
    return float(await pool.redis("ZSCORE", pool.keys.hungry(role), unit))


async def test_a_unit_that_ends_its_job_while_none_waits_is_woken_for_the_next(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit()
    (job,) = (await pool.claim("a", worker_concurrency_limit=1)).jobs
    assert not await pool.is_hungry("a")
    assert not await rest(pool, "a", job)
    await pool.submit()
    assert await pool.woken("a") == ["a"]


async def test_it_waits_as_it_would_after_a_claim_that_found_nothing(pool: Pool) -> None:
    await pool.unit("a")
    for job in [await pool.one("a"), await pool.one("a")]:
        pool.clock.advance(1)
        await rest(pool, "a", job)
        rested = await score(pool, "a")
        await pool.claim("a")
        assert rested == await score(pool, "a")
    assert rested < 0


async def test_a_long_unit_that_holds_long_jobs_waits_behind_those_that_do_not(pool: Pool) -> None:
    await pool.unit("a", role="long")
    jobs = [await pool.one("a", "long"), await pool.one("a", "long")]
    await rest(pool, "a", jobs[0])
    assert await score(pool, "a", "long") == 10.125


@pytest.mark.parametrize("job_class", ["short", "long"])
@pytest.mark.parametrize("again", [False, True])
async def test_whatever_waits_it_is_told_to_claim(
    pool: Pool,
    job_class: JobClass,
    again: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    await pool.unit("a")
    await pool.unit("b", role=job_class)
    job = await pool.one("a")
    if again:
        await pool.requeue("b", await pool.one("b", job_class))
    else:
        await pool.submit(job_class)
    assert await rest(pool, "a", job)


async def test_a_superseded_attempt_is_told_to_claim(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.requeue("a", job)
    turn = await pool.store.turn("a", finishes=[pool.finished(job)], rest=True)
    assert (turn.finished, turn.waiting) == (("SUPERSEDED",), True)


async def test_a_draining_unit_is_not_woken(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.store.set_draining("a", draining=True)
    assert not await rest(pool, "a", job)
    assert not await pool.is_hungry("a")


async def test_a_unit_that_was_woken_already_is_not_woken_twice(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    (gone,) = await pool.submit()
    await pool.cancel(gone)
    assert not await rest(pool, "a", job)
    assert not await pool.is_hungry("a")


async def test_a_unit_without_room_for_its_role_is_not_woken(pool: Pool) -> None:
    await pool.unit("a")
    policy = {"worker_concurrency_limit_short": 8, "worker_concurrency_limit_long": 2}
    mixed = pool.with_settings(**policy)
    await mixed.submit("short", count=8)
    jobs = (await mixed.claim("a")).jobs
    await pool.redis("SET", pool.keys.role("a"), "long")
    assert not await rest(mixed, "a", jobs[0])
    assert not await pool.is_hungry("a")
    for job in jobs[1:4]:
        await rest(mixed, "a", job)
    assert await pool.is_hungry("a")


async def test_live_limits_count(pool: Pool) -> None:
    await pool.unit("a")
    jobs = [await pool.one("a"), await pool.one("a")]
    await pool.redis("HSET", pool.keys.policy, "worker_concurrency_limit", 2)
    await rest(pool, "a", jobs[0])
    assert await score(pool, "a") == 0.5


async def test_a_full_unit_is_told_so(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=3)
    claims = [await pool.claim("a", worker_concurrency_limit=limit) for limit in (2, 2, 4)]
    assert [(len(claim.jobs), claim.full) for claim in claims] == [(2, True), (0, True), (1, False)]


async def test_a_unit_leaves_a_job_to_the_one_that_was_woken_for_it(pool: Pool) -> None:
    await pool.hungry("b")
    await pool.unit("a")
    await pool.submit()
    assert await pool.woken("b") == ["b"]
    (held,) = await pool.submit()
    # Both are there before b comes: one is for b, the other for whoever has a slot.
    (job,) = (await pool.claim("a", worker_concurrency_limit=1)).jobs
    assert not await rest(pool, "a", job)
    assert await pool.is_hungry("a")
    await pool.submit()
    assert await pool.woken("a", "b") == ["a"]
    assert len((await pool.claim("b")).jobs) + len((await pool.claim("a")).jobs) == 2
    assert (await pool.job(held))["state"] == "running"


async def test_a_look_finds_what_waits_late_and_a_wake_up_that_was_lost(pool: Pool) -> None:
    await pool.hungry("a")
    await pool.hungry("b")
    assert not await pool.store.may_claim("a")
    await pool.submit("short")
    ((woken,), other) = (await pool.woken("a", "b"), {"a": "b", "b": "a"})
    # A wake-up is under way; whether it comes nobody knows.
    assert await pool.store.may_claim(woken)
    assert not await pool.store.may_claim(other[woken])
    pool.clock.advance(0.501)
    assert await pool.store.may_claim(other[woken])
    assert await pool.store.may_claim(other[woken], "short")
    assert not await pool.store.may_claim(other[woken], "long")
    await pool.claim(woken)
    assert not await pool.store.may_claim(woken)


async def test_a_unit_whose_bounds_keep_all_out_leaves_what_waits_and_is_not_woken(
    pool: Pool,
) -> None:
    await pool.unit("a")
    jobs = [await pool.one("a"), await pool.one("a")]
    await pool.submit()
    assert not await rest(pool, "a", jobs[0], CLOSED)
    assert not await pool.is_hungry("a")
    assert not await pool.store.may_claim("a", None, 0.0, CLOSED)
    # As soon as they let something in it looks, and waits for the next.
    assert await pool.store.may_claim("a", None, 0.0, OPEN)
    assert await rest(pool, "a", jobs[1], OPEN)
    assert len(await pool.take("a")) == 1


async def test_a_bounded_unit_that_takes_more_is_woken_for_the_next(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    assert not await rest(pool, "a", job, OPEN)
    assert not await pool.store.may_claim("a", None, 0.0, OPEN)
    await pool.submit()
    assert await pool.woken("a") == ["a"]


async def test_a_short_unit_with_work_leaves_long_jobs_until_they_have_starved(pool: Pool) -> None:
    await pool.unit("a", "b")
    jobs = [await pool.one("a") for _ in range(4)]
    await pool.submit("long")
    assert not await rest(pool, "a", jobs[0])
    assert not await pool.store.may_claim("a", None, 0.0)
    await pool.pass_time(pool.settings.starvation_bound_s + 0.001)
    await pool.unit("a", "b")
    # Bounded, it leaves them to Long units for good, as there are others.
    assert not await rest(pool, "a", jobs[1], OPEN)
    assert not await pool.store.may_claim("a", None, 0.0, OPEN)
    assert await pool.store.may_claim("a", None, 0.0)
    assert await rest(pool, "a", jobs[2])
    await pool.store.leave("b")
    assert await rest(pool, "a", jobs[3], CLOSED)


async def test_a_long_unit_with_long_jobs_leaves_short_ones(pool: Pool) -> None:
    await pool.unit("a", role="long")
    jobs = [await pool.one("a", "long") for _ in range(3)]
    await pool.submit("short")
    assert not await rest(pool, "a", jobs[0])
    assert not await pool.store.may_claim("a", None, 0.0)
    assert not await rest(pool, "a", jobs[1])
    assert await rest(pool, "a", jobs[2])


async def test_a_full_unit_and_one_that_drains_need_no_claim(pool: Pool) -> None:
    await pool.unit("a", "b")
    await pool.submit(count=3)
    narrow = pool.with_settings(worker_concurrency_limit=2)
    assert len(await narrow.take("a")) == 2
    assert not await narrow.store.may_claim("a", None, 0.0)
    assert await pool.store.may_claim("a", None, 0.0)
    await pool.store.set_draining("b", draining=True)
    assert not await pool.store.may_claim("b", None, 0.0)
