"""Where waiting jobs stand: what estimates of their start follow from."""

import pytest

from common.keys import COST
from common.models import Standing
from common.standing import Standings
from tests.lua.conftest import Pool


def standings(pool: Pool, **weights: int) -> Standings:
    return Standings(
        pool.store._connection, pool.settings, lambda owner: weights.get(owner, 1), pool.clock
    )


async def stands(pool: Pool, job: str, **weights: int) -> Standing:
    found = await standings(pool, **weights).of(job)
    assert found
    return found


async def test_a_waiting_job_knows_how_many_are_before_it(pool: Pool) -> None:
    await pool.unit("a")
    first = await pool.one("a")
    jobs = await pool.submit(count=3)
    pool.clock.advance(2)
    assert [(await stands(pool, job)).position for job in jobs] == [0, 1, 2]
    assert (await stands(pool, jobs[0])).age_s == 2
    await pool.requeue("a", first)
    assert (await stands(pool, jobs[2])).position == 3
    assert (await stands(pool, first.id)).position == 0
    assert (await stands(pool, first.id)).distance is None


async def test_one_that_does_not_wait_stands_nowhere(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    assert await standings(pool).of(job.id) is None
    assert await standings(pool).of("unheard of") is None


async def test_virtual_time_has_a_jobs_cost_to_go_for_each_before_it(pool: Pool) -> None:
    await pool.unit("a")
    jobs = await pool.submit(count=4)
    claimed = await pool.claim("a", worker_concurrency_limit=1)
    assert [job.id for job in claimed.jobs] == jobs[:1]
    gone = [(await stands(pool, job)).distance for job in jobs[1:]]
    assert gone == [pytest.approx(n * COST, abs=5) for n in (1, 2, 3)]


async def test_owners_of_more_weight_have_more_of_their_jobs_before_it(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=8, owner="heavy", weight=4)
    mine = await pool.submit(count=2, owner="light")
    assert (await stands(pool, mine[0], heavy=4)).position == 1
    # After a job of each, four of the heavy one come for each of mine.
    assert (await stands(pool, mine[1], heavy=4)).position == 1 + 5
    assert (await stands(pool, mine[1])).position == 1 + 2
    assert (await stands(pool, mine[1])).share == 0.2


async def test_a_large_job_says_until_when_others_go_before_it(pool: Pool) -> None:
    await pool.unit("a")
    sized = pool.with_settings(policy="adaptive", adaptive_size_weight=10)
    (large,) = await sized.submit("long", tokens=30_000)
    (small,) = await sized.submit("long", tokens=5_000)
    pool.clock.advance(1)
    places = [await stands(pool, job) for job in (large, small)]
    assert [one.position for one in places] == [1, 0]
    assert [one.older for one in places] == [0, 1]
    late_s = [sized.settings.later_s("long", tokens) for tokens in (30_000, 5_000)]
    assert [one.until_s for one in places] == [pytest.approx(s - 1, abs=0.01) for s in late_s]
