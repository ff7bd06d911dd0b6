"""claim and submit under the adaptive policy: what bounds a claim, and who goes first."""

from typing import Any

from common.models import Bounds, Claim
from tests.lua.conftest import GATEWAY, Clock, Pool

BOUND_S = 60.0


async def bounded(pool: Pool, unit: str, **bounds: Any) -> Claim:
    turn = await pool.store.turn(unit, claim=True, bounds=Bounds(**bounds))
    assert turn.claim is not None
    return turn.claim


async def ids(pool: Pool, unit: str, **bounds: Any) -> list[str]:
    return [job.id for job in (await bounded(pool, unit, **bounds)).jobs]


async def test_short_jobs_are_taken_until_their_prompts_fill_the_backlog(pool: Pool) -> None:
    await pool.unit("a")
    jobs = await pool.submit(count=5, tokens=1000)
    assert await ids(pool, "a", short_tokens=1500) == jobs[:2]


async def test_a_job_that_is_larger_than_the_backlog_is_taken_alone(pool: Pool) -> None:
    await pool.unit("a")
    jobs = await pool.submit(count=2, tokens=4000)
    assert await ids(pool, "a", short_tokens=1) == jobs[:1]


async def test_a_unit_with_a_full_backlog_takes_none_and_is_not_woken(pool: Pool) -> None:
    await pool.unit("a", "b")
    await pool.submit(tokens=1000)
    claim = await bounded(pool, "a", short_tokens=0)
    assert claim.jobs == ()
    # It asks again by itself: who waits for room is not on the list of those that have some.
    assert claim.wait_s == 0.5
    assert not await pool.is_hungry("a")
    await pool.submit(tokens=1000)
    assert await pool.woken("a") == []


async def test_a_long_unit_takes_no_more_long_jobs_than_it_may_prefill(pool: Pool) -> None:
    await pool.unit("a", role="long")
    jobs = await pool.submit("long", count=3)
    assert await ids(pool, "a", long_jobs=1) == jobs[:1]
    assert await ids(pool, "a", long_jobs=0) == []
    assert await ids(pool, "a") == jobs[1:]


async def test_slots_hold_whatever_the_bounds_say(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=12, tokens=10)
    assert len(await ids(pool, "a", short_tokens=100_000)) == 8


async def test_a_bound_of_none_holds_back_a_steal(pool: Pool) -> None:
    await pool.unit("a")
    pool.clock.advance(5)
    (job,) = await pool.submit("long")
    assert await ids(pool, "a", long_jobs=0) == []
    assert await ids(pool, "a", long_jobs=1) == [job]


async def test_a_bound_of_none_holds_back_borrowing(pool: Pool) -> None:
    await pool.unit("a", role="long")
    (job,) = await pool.submit("short")
    assert await ids(pool, "a", short_tokens=0) == []
    assert await ids(pool, "a", short_tokens=1) == [job]


async def test_a_short_unit_with_work_leaves_a_starved_long_job_to_long_units(
    pool: Pool, clock: Clock
) -> None:
    await pool.unit("a", "b")
    await pool.one("a")
    await pool.submit("long")
    (short,) = await pool.submit("short")
    clock.advance(BOUND_S + 1)
    await pool.store.beat(GATEWAY)
    for name in ("a", "b"):
        await pool.store.register(name, {})
    assert await ids(pool, "a", long_jobs=1, oldest_every=8) == [short]
    assert await pool.depth("long") == 1


async def test_alone_in_its_pool_it_takes_one(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    await pool.one("a")
    (long,) = await pool.submit("long")
    (short,) = await pool.submit("short")
    clock.advance(BOUND_S + 1)
    await pool.store.beat(GATEWAY)
    await pool.store.register("a", {})
    assert await ids(pool, "a", long_jobs=0, oldest_every=8) == [long, short]


async def test_a_smaller_long_job_goes_before_a_larger_one_that_came_a_little_earlier(
    pool: Pool,
) -> None:
    adaptive = pool.with_settings(policy="adaptive")
    await pool.unit("a", role="long")
    (large,) = await adaptive.submit("long", tokens=60_000)
    (small,) = await adaptive.submit("long", tokens=5000)
    assert await pool.take("a") == [small, large]


async def test_a_larger_one_that_came_long_before_goes_first(pool: Pool) -> None:
    adaptive = pool.with_settings(policy="adaptive")
    await pool.unit("a", role="long")
    (large,) = await adaptive.submit("long", tokens=20_000)
    # Of 20,000 tokens and 5,000 one takes 2.6 s longer: that counts as 260 s.
    await pool.pass_time(300)
    await pool.store.register("a", {})
    (small,) = await adaptive.submit("long", tokens=5000)
    assert await pool.take("a") == [large, small]


async def test_under_the_published_rules_size_does_not_count(pool: Pool) -> None:
    await pool.unit("a", role="long")
    (large,) = await pool.submit("long", tokens=60_000)
    (small,) = await pool.submit("long", tokens=5000)
    assert await pool.take("a") == [large, small]


async def test_while_one_has_starved_every_so_many_claims_take_the_oldest(pool: Pool) -> None:
    adaptive = pool.with_settings(policy="adaptive")
    await pool.unit("a", role="long")
    (large,) = await adaptive.submit("long", tokens=90_000)
    small = await adaptive.submit("long", count=3, tokens=5000)
    await pool.pass_time(BOUND_S + 1)
    await pool.store.register("a", {})
    taken = [await ids(pool, "a", long_jobs=1, oldest_every=3) for _ in range(4)]
    assert taken == [[small[0]], [small[1]], [large], [small[2]]]


async def test_a_claim_tells_the_tokens_of_each_job(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a", tokens=1234)
    assert job.tokens == 1234


async def test_a_job_that_is_too_large_is_not_stolen(pool: Pool) -> None:
    await pool.unit("a")
    pool.clock.advance(5)
    (job,) = await pool.submit("long", tokens=9000)
    assert await ids(pool, "a", steal_tokens=8999) == []
    # Its owner's turn is as it was.
    assert await ids(pool, "a", steal_tokens=9000) == [job]


async def test_one_that_was_given_back_is_not_stolen_either(pool: Pool) -> None:
    await pool.unit("a")
    await pool.unit("l", role="long")
    job = await pool.one("l", "long", tokens=9000)
    await pool.requeue("l", job)
    pool.clock.advance(5)
    assert await ids(pool, "a", steal_tokens=8999) == []
    assert await ids(pool, "a", steal_tokens=9000) == [job.id]


async def test_the_size_of_a_steal_binds_no_long_unit(pool: Pool) -> None:
    await pool.unit("a", role="long")
    (job,) = await pool.submit("long", tokens=9000)
    assert await ids(pool, "a", steal_tokens=1) == [job]


async def test_a_starved_job_may_be_of_any_size(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    (job,) = await pool.submit("long", tokens=9000)
    clock.advance(BOUND_S + 1)
    await pool.store.beat(GATEWAY)
    await pool.store.register("a", {})
    assert await ids(pool, "a", steal_tokens=1) == [job]


async def test_how_idle_a_unit_must_be_is_said_by_the_claim(pool: Pool) -> None:
    await pool.unit("a")
    (job,) = await pool.submit("long")
    pool.clock.advance(5)
    claim = await bounded(pool, "a", steal_idle_s=8.0)
    assert (claim.jobs, claim.wait_s) == ((), 3.0)
    assert await ids(pool, "a", steal_idle_s=5.0) == [job]


async def test_a_live_override_comes_before_it(pool: Pool) -> None:
    await pool.unit("a")
    (job,) = await pool.submit("long")
    pool.clock.advance(5)
    await pool.redis("HSET", pool.keys.policy, "rasp_steal_cooldown_s", "4")
    assert await ids(pool, "a", steal_idle_s=8.0) == [job]
