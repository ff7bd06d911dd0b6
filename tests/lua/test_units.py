"""register and leave: how a unit comes, comes back, and goes."""

from common.scripts import Arg
from tests.lua.conftest import GATEWAY, Clock, Pool


async def test_a_new_unit_is_short_idle_and_known(pool: Pool, clock: Clock) -> None:
    assert await pool.store.register("a", {"url": "http://one", "limit_short": 8}) == "short"
    assert await pool.idle_since("a") == clock()
    unit = await pool.redis("HGETALL", pool.keys.unit("a"))
    assert unit[b"url"] == b"http://one"
    assert int(unit[b"started_ms"]) == clock()
    assert int(await pool.redis("ZSCORE", pool.keys.units, "a")) == clock()


async def test_a_heartbeat_changes_the_time_and_the_fields_only(pool: Pool, clock: Clock) -> None:
    await pool.unit("a", role="long")
    since, started = await pool.idle_since("a"), clock()
    job = await pool.one("a", "long")
    clock.advance(1)
    assert await pool.store.register("a", {"url": "http://two"}) == "long"
    assert list(await pool.leases("a")) == [job.id]
    assert await pool.active("a") == {"short": 0, "long": 1}
    assert await pool.idle_since("a") is None
    await pool.finish("a", job)
    assert await pool.idle_since("a") != since
    unit = await pool.redis("HGETALL", pool.keys.unit("a"))
    assert (unit[b"url"], int(unit[b"started_ms"])) == (b"http://two", started)


async def test_an_idle_units_heartbeat_keeps_its_idle_time(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    since = clock()
    clock.advance(3)
    await pool.store.register("a", {})
    assert await pool.idle_since("a") == since


async def test_a_heartbeat_makes_anew_what_redis_forgot(pool: Pool) -> None:
    await pool.unit("a")
    await pool.one("a")
    for name in await pool.key_names():
        await pool.redis("DEL", name)
    assert await pool.store.register("a", {"url": "http://one"}) == "short"
    await pool.store.beat(GATEWAY)
    assert len(await pool.submit(count=2)) == len(await pool.take("a")) == 2


async def test_a_heartbeat_clears_counters_that_no_lease_supports(pool: Pool) -> None:
    await pool.unit("a")
    await pool.redis("HSET", pool.keys.active("a"), "short", 5, "long", -1)
    await pool.store.register("a", {})
    assert await pool.active("a") == {"short": 0, "long": 0}


async def test_a_group_made_late_sees_what_came_before(pool: Pool) -> None:
    fields: list[Arg] = ["job", "lost", "tokens", 1, "submitted_ms", pool.clock()]
    await pool.redis("XADD", pool.keys.queue("short"), "*", *fields)
    await pool.store.register("a", {})
    assert await pool.depth() == 1


async def test_an_idle_unit_leaves_nothing_but_its_role(pool: Pool) -> None:
    await pool.hungry("a", role="long")
    (job,) = await pool.submit("long")
    assert await pool.cancel(job, "long") == "OK"
    assert await pool.store.leave("a") == 0
    of_unit = [name for name in await pool.key_names() if name.endswith(":a")]
    assert of_unit == [pool.keys.role("a")]
    assert await pool.redis("ZSCORE", pool.keys.units, "a") is None
    assert not await pool.is_hungry("a")
    assert await pool.store.register("a", {}) == "long"


async def test_a_unit_that_left_is_woken_no_more(pool: Pool) -> None:
    await pool.hungry("a")
    await pool.store.leave("a")
    await pool.submit()
    assert await pool.woken("a") == []


async def test_what_a_leaving_unit_holds_is_reclaimed(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    assert await pool.store.leave("a") == 1
    assert list(await pool.leases("a")) == [job.id]
    assert await pool.views.silent_units(clock()) == ["a"]
    clock.advance(pool.settings.lease_s)
    ((lease, gateway),) = await pool.views.lapsed("a", clock())
    assert await pool.store.requeue("a", lease, gateway, "left", lapsed_only=True) == "OK"
    assert await pool.store.leave("a") == 0
    assert await pool.views.silent_units(clock()) == []


async def test_a_silent_unit_is_found(pool: Pool, clock: Clock) -> None:
    await pool.unit("a", "b")
    clock.advance(pool.settings.alive_s)
    assert await pool.views.silent_units(clock()) == []
    clock.advance(0.001)
    await pool.store.register("b", {})
    assert await pool.views.silent_units(clock()) == ["a"]


async def test_a_unit_that_was_told_to_drain_comes_back_draining(pool: Pool) -> None:
    await pool.unit("a", url="http://old")
    await pool.store.set_draining("a", draining=True)
    assert await pool.store.leave("a") == 0
    assert await pool.redis("HGETALL", pool.keys.unit("a")) == {b"draining": b"1"}
    await pool.unit("a")
    await pool.submit()
    assert (await pool.claim("a")).draining
    await pool.store.set_draining("a", draining=False)
    assert await pool.woken("a") == ["a"]
    assert len(await pool.take("a")) == 1
    assert await pool.store.leave("a") == 1


async def test_a_unit_that_drains_keeps_what_it_holds_until_it_has_ended(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.store.set_draining("a", draining=True)
    await pool.submit()
    assert await pool.take("a") == []
    assert await pool.store.renew("a", [(job.id, 1)]) == ()
    assert await pool.finish("a", job) == ["OK"]
    assert await pool.take("a") == []
