"""finish without a claim: the unit is woken for what comes next, or told what waits already."""

import pytest

from common.keys import JobClass
from common.models import ClaimedJob
from tests.lua.conftest import Pool


async def rest(pool: Pool, unit: str, job: ClaimedJob) -> bool:
    """Finish with no claim; answers whether the unit is told to claim."""
    turn = await pool.store.turn(unit, finishes=[pool.finished(job)], rest=True)
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
