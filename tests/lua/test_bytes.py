"""How many bytes of bodies a pool holds, and what a full Redis still does."""

import pytest

from common.connection import RedisUnavailable
from common.models import Outcome, Part
from tests.lua.conftest import Pool

BODY = b"x" * 1000


async def held(pool: Pool) -> int:
    return int(await pool.redis("GET", pool.keys.bytes) or 0)


async def test_bodies_beyond_the_bound_are_refused(pool: Pool) -> None:
    small = pool.with_settings(max_queue_bytes=2500)
    await small.submit(count=2, body=BODY)
    refused = await small.try_submit("long", body=BODY)
    assert (refused.status, refused.full, refused.depth) == ("full", "bytes", 0)
    assert (await small.try_submit(body=b"x" * 500)).status == "accepted"


async def test_running_bodies_count_until_their_outcome(pool: Pool) -> None:
    small = pool.with_settings(max_queue_bytes=1000)
    await pool.unit("a")
    job = await small.one("a", body=BODY)
    assert (await small.try_submit(body=b"x")).full == "bytes"
    await pool.requeue("a", job)
    assert (await small.try_submit(body=b"x")).full == "bytes"
    (again,) = (await pool.claim("a")).jobs
    await pool.finish("a", again)
    assert (await small.try_submit(body=b"x")).status == "accepted"


async def test_the_bound_is_a_live_override(pool: Pool) -> None:
    await pool.redis("HSET", pool.keys.policy, "max_queue_bytes", 10)
    assert (await pool.try_submit(body=BODY)).full == "bytes"
    await pool.redis("HSET", pool.keys.policy, "max_queue_bytes", "nonsense")
    assert (await pool.try_submit(body=BODY)).status == "accepted"


async def test_every_end_of_a_job_gives_its_bytes_back(pool: Pool) -> None:
    await pool.unit("a")
    outcomes: tuple[Outcome, ...] = ("ok", "failed", "cancelled", "expired")
    for outcome in outcomes:
        await pool.finish("a", await pool.one("a", body=BODY), outcome=outcome)
    (queued,) = await pool.submit(body=BODY)
    await pool.cancel(queued)
    dead = pool.with_settings(max_attempts=1)
    assert await dead.requeue("a", await pool.one("a", body=BODY)) == "DEAD"
    await pool.submit(body=BODY, timeout_s=1.0)
    pool.clock.advance(2)
    assert await pool.take("a") == []
    assert await held(pool) == 0


async def bodies(pool: Pool, jobs: list[str]) -> list[str]:
    has = [await pool.redis("HEXISTS", pool.keys.job(job), "body") for job in jobs]
    return [job for job, there in zip(jobs, has, strict=True) if there]


async def die(pool: Pool, *sizes: int) -> list[str]:
    """Jobs with bodies of these sizes, dead-lettered one after the other."""
    once = pool.with_settings(max_attempts=1)
    jobs = [await once.one("a", body=b"x" * size) for size in sizes]
    for job in jobs:
        assert await once.requeue("a", job) == "DEAD"
    return [job.id for job in jobs]


async def test_the_newest_dead_jobs_keep_their_bodies(pool: Pool) -> None:
    await pool.unit("a")
    small = pool.with_settings(dead_bodies_kept=2)
    jobs = await die(small, 10, 20, 30)
    assert await bodies(pool, jobs) == jobs[1:]
    assert await held(pool) == 0
    assert await bodies(pool, await die(pool.with_settings(dead_bodies_kept=0), 10)) == []


async def test_bodies_of_dead_jobs_are_kept_as_far_as_they_fit(pool: Pool) -> None:
    await pool.unit("a")
    small = pool.with_settings(dead_bodies_bytes=100)
    jobs = await die(small, 40, 50, 60)
    assert await bodies(pool, jobs) == jobs[2:]
    large = await die(small, 101)
    assert await bodies(pool, [*jobs, *large]) == []


async def test_a_body_of_a_dead_job_goes_with_its_record(pool: Pool) -> None:
    await pool.unit("a")
    (job,) = await die(pool, 10)
    assert 0 < await pool.redis("PTTL", pool.keys.job(job)) <= pool.settings.job_ttl_s * 1000


async def test_the_same_end_twice_gives_bytes_back_once(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a", body=BODY)
    await pool.submit(body=BODY)
    for _ in range(2):
        await pool.finish("a", job)
        await pool.cancel(job.id)
        await pool.requeue("a", job)
    assert await held(pool) == len(BODY)


async def test_what_an_expired_key_left_in_the_count_goes_when_the_pool_is_empty(
    pool: Pool,
) -> None:
    small = pool.with_settings(max_queue_bytes=1500)
    await pool.unit("a")
    (lost,) = await pool.submit(body=BODY)
    await pool.redis("DEL", pool.keys.job(lost))
    assert (await small.try_submit(body=BODY)).full == "bytes"
    assert await pool.take("a") == []
    assert (await small.try_submit(body=BODY)).status == "accepted"
    assert await held(pool) == len(BODY)


async def test_a_full_redis_refuses_new_jobs_and_ends_all_others(real_pool: Pool) -> None:
    pool = real_pool
    await pool.unit("a")
    to_finish, to_requeue, to_cancel = [await pool.one("a") for _ in range(3)]
    waiting, cancelled = await pool.submit(count=2)
    before = await pool.redis("CONFIG", "GET", "maxmemory")
    await pool.redis("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await pool.redis("CONFIG", "SET", "maxmemory", "1mb")
    try:
        with pytest.raises(RedisUnavailable, match="maxmemory"):
            await pool.submit()
        await pool.store.register("a", {})
        await pool.store.beat(to_finish.gateway)
        assert await pool.store.renew("a", [(to_finish.id, 1)]) == ()
        finish = pool.finished(to_finish, parts=(Part(to_finish.id, 1, "end", b"{}"),))
        assert (await pool.store.turn("a", finishes=[finish])).finished == ("OK",)
        assert await pool.requeue("a", to_requeue) == "OK"
        assert await pool.cancel(to_cancel.id) == "ASKED"
        assert await pool.finish("a", to_cancel, outcome="cancelled") == ["OK"]
        assert await pool.cancel(cancelled) == "OK"
        assert sorted(await pool.take("a")) == sorted([to_requeue.id, waiting])
        assert await pool.store.lead("scaler-1", 1.0) is None
        assert await pool.store.leave("a") == 2
    finally:
        await pool.redis("CONFIG", "SET", "maxmemory", int(before[1]))
    assert (await pool.try_submit()).status == "accepted"
