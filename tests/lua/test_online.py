"""Online limits in the scripts: lower than the ceilings, and units stay level by these."""

from common.models import Bounds
from tests.lua.conftest import Pool

WIDE = {"worker_concurrency_limit_short": 64, "worker_concurrency_limit_long": 8}


async def take(pool: Pool, unit: str, **limits: int) -> list[str]:
    turn = await pool.with_settings(**WIDE).store.turn(unit, claim=True, bounds=Bounds(**limits))
    assert turn.claim is not None
    return [job.id for job in turn.claim.jobs]


async def test_a_unit_holds_no_more_than_it_found(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=40)
    assert len(await take(pool, "a", limit_short=12)) == 12
    assert await take(pool, "a", limit_short=12) == []
    assert not await pool.is_hungry("a")
    assert len(await take(pool, "a", limit_short=14)) == 2


async def test_an_online_limit_is_never_above_the_ceiling(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=80)
    assert len(await take(pool, "a", limit_short=1000)) == 64


async def test_a_limit_below_what_is_held_takes_nothing_away(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=20)
    assert len(await take(pool, "a", limit_short=16)) == 16
    assert await take(pool, "a", limit_short=4) == []
    assert await pool.active("a") == {"short": 16, "long": 0}


async def test_both_classes_share_a_unit_by_the_limits_that_it_found(pool: Pool) -> None:
    await pool.unit("a", role="long")
    await pool.submit("long", count=4)
    assert len(await take(pool, "a")) == 4
    await pool.unit("a", role="short")
    await pool.submit("short", count=40)
    # Half of the unit is taken, so half of 20.
    assert len(await take(pool, "a", limit_short=20)) == 10


async def test_units_stay_level_whatever_each_found(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=4)
    for limit in (8, 64):
        await take(pool, "a", limit_short=limit)
        score = await pool.redis("ZSCORE", pool.keys.hungry("short"), "a")
        assert float(score) == 4 / 64


async def test_a_finish_lets_a_unit_be_woken_only_below_what_it_found(pool: Pool) -> None:
    await pool.unit("a")
    jobs = [await pool.one("a") for _ in range(3)]
    await take(pool, "a", limit_short=3)
    assert not await pool.is_hungry("a")
    for limit, hungry in ((2, False), (2, True)):
        finish = pool.finished(jobs.pop())
        bounds = Bounds(limit_short=limit)
        await pool.store.turn("a", finishes=[finish], bounds=bounds, rest=True)
        assert await pool.is_hungry("a") == hungry


async def test_a_limit_that_falls_is_an_event(pool: Pool) -> None:
    for short in ("", 8, 16, 12, 12, ""):
        await pool.store.register("a", {"online_short": short, "online_long": ""})
    (event,) = await pool.events("lowered")
    seen = {name: event[name] for name in ("unit", "class", "from", "to")}
    assert seen == {"unit": "a", "class": "short", "from": "16", "to": "12"}
