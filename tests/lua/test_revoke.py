"""revoke: when a unit is asked to hand back a long job for short ones; and what steals may be."""

from common.keys import JobClass
from common.models import ClaimedJob, Part, Prefilling, Relay
from common.steals import Stealing
from tests.lua.conftest import GATEWAY, Pool

LEADER = "scaler-1"
REASON = "a short job has waited 0.5 s"


async def stolen(pool: Pool, *, role: JobClass = "short") -> ClaimedJob:
    """A long job in the hands of unit a, a short one that waits, and a scaler that leads."""
    await pool.unit("a", role=role)
    pool.clock.advance(5)
    job = await pool.one("a", "long")
    await pool.submit()
    assert await pool.store.lead(LEADER, 60) is None
    return job


async def revoke(pool: Pool, job: ClaimedJob, scaler: str = LEADER, most: int = 1) -> str:
    (found,) = (each for each in (await pool.views.survey(["a"])).prefilling if each.job == job.id)
    return await pool.store.revoke(scaler, found, most, REASON)


def found(job: ClaimedJob) -> Prefilling:
    return Prefilling(
        "a", "long", job.tokens, job.claimed_ms, streams=True, job=job.id, attempt=job.attempt
    )


async def wakes(pool: Pool) -> list[str]:
    return [each.decode() for each in await pool.redis("LRANGE", pool.keys.wake("a"), 0, -1)]


async def test_a_unit_is_asked_to_hand_a_job_back(pool: Pool) -> None:
    job = await stolen(pool)
    assert await revoke(pool, job) == "OK"
    (message,) = (each for each in await wakes(pool) if each != "claim")
    assert message == f"revoke:{job.id}:1"
    (event,) = await pool.events("revoked")
    assert (event["job"], event["unit"], event["reason"]) == (job.id, "a", REASON)
    # It only asks: until the dispatcher gives the job back it runs.
    assert (await pool.job(job.id))["state"] == "running"
    heard = [each for each in await pool.store.read_wakes("a", 0.01) if each.kind == "revoke"]
    assert [(each.job, each.attempt) for each in heard] == [(job.id, 1)]


async def test_what_it_gives_back_counts_as_no_attempt_and_goes_first(pool: Pool) -> None:
    few = pool.with_settings(max_attempts=1)
    job = await stolen(few)
    (later,) = await few.submit("long")
    assert await revoke(few, job) == "OK"
    assert await few.requeue("a", job, revoked=True) == "OK"
    await few.unit("l", role="long")
    assert await few.take("l") == [job.id, later]


async def test_the_short_job_that_waited_is_taken_then_and_not_the_long_one_again(
    pool: Pool,
) -> None:
    job = await stolen(pool)
    await revoke(pool, job)
    await pool.requeue("a", job, revoked=True)
    assert [each.job_class for each in (await pool.claim("a")).jobs] == ["short"]
    assert await pool.depth("long") == 1


async def test_a_job_that_has_sent_a_byte_is_left_alone(pool: Pool) -> None:
    job = await stolen(pool)
    relay = Relay(GATEWAY, (Part(job.id, job.attempt, "head", b"{}"),))
    await pool.store.turn("a", relays=[relay])
    assert await pool.store.revoke(LEADER, found(job), 1, REASON) == "BEGUN"
    assert await pool.events("revoked") == []


async def test_the_first_byte_of_an_earlier_attempt_does_not_count(pool: Pool) -> None:
    job = await stolen(pool)
    relay = Relay(GATEWAY, (Part(job.id, job.attempt, "head", b"{}"),))
    await pool.store.turn("a", relays=[relay])
    pool.clock.advance(1)
    await pool.requeue("a", job)
    await pool.take("a")
    pool.clock.advance(5)
    for short in await pool.views.held("a"):
        await pool.store.requeue("a", short[0], GATEWAY, "unit failed")
    await pool.redis("SET", pool.keys.role("a"), "long")
    (again,) = (await pool.claim("a")).jobs
    await pool.redis("SET", pool.keys.role("a"), "short")
    assert (again.id, await pool.store.revoke(LEADER, found(again), 1, REASON)) == (job.id, "OK")


async def test_a_job_is_handed_back_so_many_times_and_no_more(pool: Pool) -> None:
    job = await stolen(pool)
    assert await revoke(pool, job, most=0) == "SPENT"
    for _ in range(2):
        assert await revoke(pool, job, most=2) == "OK"
        assert await pool.requeue("a", job, revoked=True) == "OK"
        (short,) = (await pool.claim("a")).jobs
        await pool.finish("a", short)
        pool.clock.advance(3)
        await pool.store.beat(GATEWAY)
        (job,) = (await pool.claim("a")).jobs
        await pool.submit()
    assert await revoke(pool, job, most=2) == "SPENT"
    (seen,) = (await pool.views.survey(["a"])).prefilling
    assert (seen.job, seen.revoked, seen.attempt) == (job.id, 2, 3)


async def test_a_job_is_not_asked_for_less_because_it_was_asked_for(pool: Pool) -> None:
    job = await stolen(pool)
    # Until it is handed back nothing has happened to it: a message may be lost.
    assert [await revoke(pool, job) for _ in range(2)] == ["OK", "OK"]


async def test_an_attempt_that_is_over_is_not_asked_for(pool: Pool) -> None:
    job = await stolen(pool)
    await pool.requeue("a", job, spared=True)
    assert await pool.store.revoke(LEADER, found(job), 1, REASON) == "SUPERSEDED"
    await pool.unit("l", role="long")
    await pool.take("l")
    assert await pool.store.revoke(LEADER, found(job), 1, REASON) == "SUPERSEDED"
    assert await pool.events("revoked") == []


async def test_a_long_unit_keeps_its_job_as_it_would_take_it_again(pool: Pool) -> None:
    job = await stolen(pool, role="long")
    assert await revoke(pool, job) == "LONG"
    await pool.redis("SET", pool.keys.role("a"), "short")
    assert await revoke(pool, job) == "OK"


async def test_nothing_is_asked_back_when_no_short_job_waits(pool: Pool) -> None:
    job = await stolen(pool)
    await pool.unit("b")
    (short,) = (await pool.claim("b")).jobs
    assert await revoke(pool, job) == "UNNEEDED"
    await pool.requeue("b", short)
    assert await revoke(pool, job) == "OK"


async def test_only_the_scaler_that_leads_asks(pool: Pool) -> None:
    job = await stolen(pool)
    assert await revoke(pool, job, scaler="scaler-2") == "NOT_LEADER"


async def test_only_the_scaler_that_leads_says_what_steals_may_be(pool: Pool) -> None:
    assert await pool.store.lead(LEADER, 60) is None
    assert not await pool.store.adjust("scaler-2", 1.0, 10)
    assert await pool.views.stealing() == Stealing()
    assert await pool.store.adjust(LEADER, 2.5, 8192)
    assert await pool.views.stealing() == Stealing(idle_s=2.5, tokens=8192)
