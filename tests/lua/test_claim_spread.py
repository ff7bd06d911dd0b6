"""claim: a burst spreads over the units that wait."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.lua.conftest import Clock, Pool

ClaimAll = Callable[[Pool, list[str]], Awaitable[list[int]]]


async def in_turn(pool: Pool, units: list[str]) -> list[int]:
    return [len(await pool.take(unit)) for unit in units]


async def at_once(pool: Pool, units: list[str]) -> list[int]:
    return [len(jobs) for jobs in await asyncio.gather(*(pool.take(unit) for unit in units))]


@pytest.fixture(params=[in_turn, at_once])
def claim_all(request: pytest.FixtureRequest) -> ClaimAll:
    chosen: ClaimAll = request.param
    return chosen


@pytest.mark.parametrize("count", [1, 2, 4, 8])
async def test_k_idle_units_and_k_waiting_jobs_get_one_each(
    pool: Pool, claim_all: ClaimAll, count: int
) -> None:
    units = [f"unit-{number}" for number in range(count)]
    await pool.hungry(*units)
    await pool.submit(count=count)
    assert await claim_all(pool, units) == [1] * count


@pytest.mark.parametrize("job_class", ["short", "long"])
@pytest.mark.parametrize(
    ("jobs", "shares"),
    [
        (1, [0, 0, 0, 1]),
        (3, [0, 1, 1, 1]),
        (5, [1, 1, 1, 2]),
        (8, [2, 2, 2, 2]),
        (11, [2, 3, 3, 3]),
        (32, [8, 8, 8, 8]),
        (40, [8, 8, 8, 8]),
    ],
)
async def test_a_burst_is_shared_evenly(
    pool: Pool, claim_all: ClaimAll, jobs: int, shares: list[int], job_class: str
) -> None:
    units = ["a", "b", "c", "d"]
    await pool.hungry(*units, role="long" if job_class == "long" else "short")
    await pool.submit("long" if job_class == "long" else "short", count=jobs)
    assert sorted(await claim_all(pool, units)) == shares


async def test_every_unit_that_is_to_have_a_share_is_woken(pool: Pool) -> None:
    units = ["a", "b", "c", "d"]
    await pool.hungry(*units)
    await pool.submit(count=8)
    assert sorted(await pool.woken(*units)) == units


async def test_a_unit_that_leaves_jobs_wakes_the_next(pool: Pool) -> None:
    await pool.submit(count=4)
    await pool.unit("a", "b")
    await pool.redis("ZADD", pool.keys.hungry("short"), -0.5, "b")
    assert len(await pool.take("a")) == 2
    assert await pool.woken("a", "b") == ["b"]


async def test_no_unit_is_woken_for_a_job_that_another_was_woken_for(pool: Pool) -> None:
    await pool.hungry("a", "b", "c")
    await pool.submit(count=2)
    first, second = await pool.woken("a", "b", "c")
    assert len(await pool.take(first)) == 1
    assert await pool.woken("a", "b", "c") == []
    assert len(await pool.take(second)) == 1


async def test_a_unit_that_was_woken_gets_a_job_though_another_has_less_to_do(pool: Pool) -> None:
    await pool.unit("a", "b")
    await pool.one("a")
    assert not (await pool.claim("a")).jobs
    await pool.submit()
    assert await pool.woken("a") == ["a"]
    await pool.redis("ZADD", pool.keys.hungry("short"), -0.5, "b")
    assert len(await pool.take("a")) == 1


async def test_one_claim_wakes_one_unit_at_most(pool: Pool) -> None:
    units = [f"unit-{number}" for number in range(10)]
    await pool.submit(count=50)
    await pool.unit("a", *units)
    for unit in units:
        await pool.redis("ZADD", pool.keys.hungry("short"), -0.5, unit)
    await pool.claim("a")
    assert len(await pool.woken(*units)) == 1


async def test_a_busy_unit_leaves_the_job_to_the_idle_one(pool: Pool) -> None:
    await pool.unit("a", "b")
    await pool.submit(count=3)
    await pool.claim("a")
    await pool.claim("b")
    await pool.submit(count=3)
    assert await pool.take("a") == []
    assert len(await pool.take("b")) == 3
    await pool.submit(count=2)
    assert [len(await pool.take(unit)) for unit in ("a", "b")] == [1, 1]


async def test_a_unit_that_leaves_jobs_looks_again_soon(pool: Pool) -> None:
    await pool.hungry("b")
    await pool.unit("a")
    await pool.submit(count=2)
    assert (await pool.claim("a")).wait_s == 0.2


async def test_a_dead_idle_unit_is_left_nothing(pool: Pool, clock: Clock) -> None:
    await pool.hungry("dead")
    await pool.pass_time(pool.settings.alive_s + 1)
    await pool.hungry("a")
    await pool.submit(count=2)
    assert len(await pool.take("a")) == 2


@pytest.mark.parametrize("dead", [1, 3])
async def test_a_burst_spreads_over_the_units_that_live(
    pool: Pool, claim_all: ClaimAll, clock: Clock, dead: int
) -> None:
    gone, units = [f"gone-{number}" for number in range(dead)], ["a", "b", "c"]
    await pool.hungry(*gone)
    await pool.pass_time(pool.settings.alive_s + 1)
    await pool.hungry(*units)
    await pool.submit(count=6)
    assert await claim_all(pool, units) == [2, 2, 2]


async def test_a_draining_idle_unit_is_left_nothing(pool: Pool) -> None:
    await pool.hungry("a", "b")
    await pool.submit(count=2)
    await pool.store.set_draining("b", draining=True)
    assert len(await pool.take("a")) == 2


async def test_no_unit_fills_up_while_another_is_idle(pool: Pool) -> None:
    units = ["a", "b", "c", "d"]
    await pool.hungry(*units)
    for _ in range(32):
        await pool.submit()
        for unit in await pool.woken(*units):
            await pool.claim(unit)
        held = [(await pool.active(unit))["short"] for unit in units]
        assert max(held) - min(held) <= 1
    assert held == [8] * 4


async def test_wider_units_take_more_and_stay_level(pool: Pool) -> None:
    wide = {"worker_concurrency_limit_short": 64}
    await pool.hungry("a", "b")
    await pool.submit(count=40)
    assert [len(await pool.take(unit, **wide)) for unit in ("a", "b")] == [20, 20]


async def test_everything_that_was_left_is_taken_in_the_end(pool: Pool, clock: Clock) -> None:
    await pool.hungry("frozen", "a")
    await pool.submit(count=3)
    taken = await pool.take("a")
    await pool.pass_time(pool.settings.alive_s + 1)
    await pool.unit("a")
    assert len(taken + await pool.take("a")) == 3
