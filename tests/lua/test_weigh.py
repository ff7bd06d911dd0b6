"""weigh: what short jobs lose to a long job that a Short unit took."""

import pytest

from common.models import ClaimedJob
from common.steals import Stealing, Weighed
from tests.lua.conftest import GATEWAY, Pool


async def stolen(pool: Pool, unit: str = "a") -> ClaimedJob:
    """A long job that this unit has just stolen and looked at once."""
    await pool.unit(unit)
    await pool.submit("long")
    pool.clock.advance(5)
    (job,) = (await pool.claim(unit)).jobs
    assert job.why == "stolen"
    await look(pool, job, unit)
    return job


async def look(
    pool: Pool,
    job: ClaimedJob,
    unit: str = "a",
    *,
    behind: int = 0,
    room: int = 8,
    over: bool = False,
) -> float | None:
    return await pool.store.weigh(unit, Weighed(job.id, job.attempt, behind, room), over=over)


async def test_a_steal_that_nobody_waits_for_costs_nothing(pool: Pool) -> None:
    job = await stolen(pool)
    pool.clock.advance(3)
    assert await look(pool, job, over=True) == 0


async def test_it_costs_what_short_jobs_wait_in_the_queue_meanwhile(pool: Pool) -> None:
    job = await stolen(pool)
    await pool.submit(count=2)
    pool.clock.advance(0.5)
    assert await look(pool, job) == 1.0
    pool.clock.advance(0.25)
    assert await look(pool, job, over=True) == 1.5


async def test_a_short_job_that_was_given_back_waits_as_well(pool: Pool) -> None:
    await pool.unit("b")
    job = await stolen(pool)
    short = await pool.one("b")
    await pool.requeue("b", short)
    pool.clock.advance(1)
    assert await look(pool, job) == 1.0


async def test_it_costs_what_those_wait_that_its_unit_claimed_behind_it(pool: Pool) -> None:
    job = await stolen(pool)
    pool.clock.advance(1)
    assert await look(pool, job, behind=3) == 3.0


async def test_steals_share_what_waits_in_the_queue(pool: Pool) -> None:
    first = await stolen(pool)
    second = await stolen(pool, "b")
    await look(pool, first)
    await pool.submit(count=3)
    pool.clock.advance(1)
    assert await look(pool, first) == 1.5
    assert await look(pool, second, "b") == 1.5


async def test_a_steal_answers_for_no_more_than_its_unit_had_room_for(pool: Pool) -> None:
    job = await stolen(pool)
    await pool.submit(count=20)
    pool.clock.advance(1)
    assert await look(pool, job, room=8) == 8.0


async def test_one_whose_dispatcher_is_gone_shares_nothing(pool: Pool) -> None:
    await stolen(pool)
    await pool.pass_time(6)
    second = await stolen(pool, "b")
    await pool.submit(count=1)
    pool.clock.advance(1)
    assert await look(pool, second, "b") == 1.0


async def test_the_last_look_tells_the_event_and_the_pool(pool: Pool) -> None:
    job = await stolen(pool)
    await pool.submit()
    pool.clock.advance(2)
    await look(pool, job, over=True)
    (event,) = await pool.events("weighed")
    assert (event["job"], event["unit"], event["attempt"]) == (job.id, "a", "1")
    assert (event["regret_ms"], event["prefill_ms"]) == ("2000", "2000")
    assert await pool.views.stealing() == Stealing(steals=1, regret_s=2.0, prefill_s=2.0)
    assert (await pool.job(job.id))["regret_ms"] == "2000"
    assert await pool.redis("EXISTS", pool.keys.steals) == 0


async def test_a_look_that_is_repeated_charges_once(pool: Pool) -> None:
    job = await stolen(pool)
    await pool.submit()
    pool.clock.advance(2)
    for _ in range(2):
        assert await look(pool, job) == 2.0
    pool.clock.advance(1)
    for _ in range(2):
        assert await look(pool, job, over=True) == 3.0
    assert len(await pool.events("weighed")) == 1
    assert (await pool.views.stealing()).steals == 1


async def test_a_job_that_is_stolen_again_begins_a_new_account(pool: Pool) -> None:
    job = await stolen(pool)
    await pool.submit()
    pool.clock.advance(2)
    await look(pool, job, over=True)
    assert await pool.requeue("a", job, spared=True) == "OK"
    (short,) = await pool.take("a")
    pool.clock.advance(1)
    await pool.unit("b")
    pool.clock.advance(3)
    await pool.store.beat(GATEWAY)
    (again,) = (await pool.claim("b")).jobs
    assert (again.id, again.attempt, again.why) == (job.id, 2, "stolen")
    await look(pool, again, "b")
    await pool.submit()
    pool.clock.advance(1)
    assert await look(pool, again, "b", over=True) == 1.0
    assert [each["regret_ms"] for each in await pool.events("weighed")] == ["2000", "1000"]
    assert (await pool.job(job.id))["regret_ms"] == "3000"
    assert short


@pytest.mark.parametrize("over", [False, True])
async def test_a_superseded_attempt_charges_nothing(pool: Pool, over: bool) -> None:  # noqa: FBT001  # drawn, not written
    job = await stolen(pool)
    await pool.requeue("a", job, spared=True)
    await pool.unit("l", role="long")
    assert await pool.take("l") == [job.id]
    await pool.submit()
    pool.clock.advance(1)
    assert await look(pool, job, over=over) is None
    assert await pool.events("weighed") == []
    assert "regret_ms" not in await pool.job(job.id) or (await pool.job(job.id))["regret_ms"] == "0"
    assert await pool.redis("EXISTS", pool.keys.steals) == 0


async def test_a_job_that_is_forgotten_stays_forgotten(pool: Pool) -> None:
    job = await stolen(pool)
    await pool.lose_job(job.id)
    pool.clock.advance(1)
    assert await look(pool, job, over=True) is None
    assert await pool.job(job.id) == {}
    await pool.redis("DEL", pool.keys.leases("a"), pool.keys.active("a"))
