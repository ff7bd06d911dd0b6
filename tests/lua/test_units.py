"""register and leave: how a unit comes, comes back, and goes."""

import pytest

from common.keys import CLASSES, JobClass
from common.models import Lease
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
    assert (await pool.views.overdue("b")).units == ("a",)
    await pool.pass_time(pool.settings.lease_s)
    ((lease, gateway),) = (await pool.views.overdue("a")).lapsed
    assert await pool.store.requeue("a", lease, gateway, "left", lapsed_only=True) == "OK"
    assert await pool.store.leave("a") == 0
    assert (await pool.views.overdue("b")).units == ()


async def test_a_silent_unit_is_found_and_after_an_hour_forgotten(pool: Pool) -> None:
    await pool.unit("a", "b")
    await pool.pass_time(pool.settings.alive_s)
    assert (await pool.views.overdue("b")).units == ()
    await pool.pass_time(0.001)
    await pool.store.register("b", {})
    found = await pool.views.overdue("b")
    assert (found.units, found.forgotten) == (("a",), ())
    await pool.pass_time(3600)
    await pool.store.register("b", {})
    assert (await pool.views.overdue("b")).forgotten == ("a",)


@pytest.mark.parametrize(
    ("live", "drawn", "looks"), [(8, 0.99, True), (16, 0.49, True), (16, 0.5, False)]
)
async def test_about_eight_dispatchers_look_after_the_silent_ones(
    pool: Pool,
    live: int,
    drawn: float,
    looks: bool,  # noqa: FBT001  # of a table
) -> None:
    await pool.unit("silent")
    await pool.store.beat("silent")
    job = await pool.one("silent")
    await pool.pass_time(pool.settings.alive_s + 1)
    await pool.unit(*(f"live-{number}" for number in range(live)))
    found = await pool.views.overdue("live-0", drawn)
    assert (found.units, found.gateways) == ((("silent",), ("silent",)) if looks else ((), ()))
    # Its own leases everybody looks at.
    await pool.pass_time(pool.settings.lease_s)
    ((lease, _),) = (await pool.views.overdue("silent", drawn)).lapsed
    assert lease.job == job.id


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


async def groups(pool: Pool) -> dict[str, int]:
    tally = await pool.views.tally()
    assert sum(tally.units.values()) <= tally.alive
    return dict(tally.units)


async def test_a_unit_counts_for_its_role_while_it_lives_and_takes_jobs(pool: Pool) -> None:
    assert await groups(pool) == {"short": 0, "long": 0}
    await pool.unit("a", "b", "c")
    assert await groups(pool) == {"short": 3, "long": 0}
    await pool.store.set_draining("b", draining=True)
    await pool.store.register("b", {})
    assert await groups(pool) == {"short": 2, "long": 0}
    await pool.store.set_draining("b", draining=False)
    assert await groups(pool) == {"short": 3, "long": 0}
    await pool.store.leave("c")
    assert await groups(pool) == {"short": 2, "long": 0}
    await pool.pass_time(pool.settings.alive_s + 1)
    assert await groups(pool) == {"short": 0, "long": 0}
    await pool.store.register("a", {})
    assert await groups(pool) == {"short": 1, "long": 0}


async def test_a_unit_that_left_with_jobs_does_not_count(pool: Pool) -> None:
    await pool.unit("a")
    await pool.one("a")
    await pool.store.leave("a")
    assert await groups(pool) == {"short": 0, "long": 0}


async def test_a_role_key_written_by_hand_counts_from_the_next_heartbeat(pool: Pool) -> None:
    await pool.unit("a", role="long")
    await pool.store.register("a", {})
    assert await groups(pool) == {"short": 0, "long": 1}
    await pool.redis("SET", pool.keys.role("a"), "short")
    await pool.store.register("a", {})
    assert await groups(pool) == {"short": 1, "long": 0}


async def test_a_unit_that_drains_and_is_not_there_counts_when_it_comes(pool: Pool) -> None:
    await pool.store.set_draining("a", draining=False)
    assert await groups(pool) == {"short": 0, "long": 0}
    await pool.unit("a")
    assert await groups(pool) == {"short": 1, "long": 0}


async def test_the_models_are_those_that_were_said_within_a_heartbeats_time(pool: Pool) -> None:
    await pool.unit("a", models="one\ntwo")
    await pool.unit("b", models="two\nthree")
    assert (await pool.views.tally()).models == ("one", "three", "two")
    await pool.pass_time(pool.settings.alive_s)
    # What a unit serves no more is gone at once, unless another serves it.
    await pool.unit("b", models="two")
    assert (await pool.views.tally()).models == ("one", "two")
    await pool.pass_time(0.001)
    assert (await pool.views.tally()).models == ("two",)
    await pool.pass_time(3600)
    await pool.unit("c", models="two")
    assert await pool.redis("ZRANGE", pool.keys.models, 0, -1) == [b"two"]


async def test_a_unit_that_leaves_takes_along_what_only_it_served(pool: Pool) -> None:
    await pool.unit("a", models="one\ntwo")
    await pool.unit("b", models="two")
    await pool.store.leave("a")
    assert (await pool.views.tally()).models == ("two",)


async def test_a_unit_that_drains_keeps_what_it_holds_until_it_has_ended(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.store.set_draining("a", draining=True)
    await pool.submit()
    assert await pool.take("a") == []
    assert await pool.store.renew("a", [(job.id, 1)]) == ()
    assert await pool.finish("a", job) == ["OK"]
    assert await pool.take("a") == []


async def test_an_override_that_is_no_text_is_seen_as_some_other_name(pool: Pool) -> None:
    await pool.redis("HSET", pool.keys.policy, b"\xff", b"\xfe", "qhap_cooldown_s", "1.5")
    overrides = await pool.views.overrides()
    assert (await pool.views.tally()).overrides == overrides
    assert pool.settings.under(overrides).qhap_cooldown_s == 1.5


@pytest.mark.parametrize("role", CLASSES)
async def test_a_unit_that_was_woken_and_leaves_hands_the_wake_up_on(
    pool: Pool, role: JobClass
) -> None:
    await pool.hungry("a", "b", role=role)
    await pool.submit(role)
    (woken,) = await pool.woken("a", "b")
    await pool.store.leave(woken)
    (other,) = {"a", "b"} - {woken}
    assert await pool.woken(woken, other) == [other]
    assert len(await pool.take(other)) == 1


async def test_a_unit_that_leaves_and_was_not_woken_wakes_nobody(pool: Pool) -> None:
    await pool.hungry("a", "b")
    await pool.store.leave("a")
    assert await pool.woken("b") == []


async def test_what_nobody_was_left_to_end_is_cleared_when_a_unit_comes_back(
    pool: Pool, clock: Clock
) -> None:
    await pool.unit("a", "b")
    held, returned = await pool.one("a"), await pool.one("b")
    await pool.requeue("b", returned)
    clock.advance(3700)
    # Their records went by themselves: a time to live runs on the server's clock.
    await pool.redis("DEL", pool.keys.job(held.id), pool.keys.job(returned.id))
    await pool.store.beat(GATEWAY)
    running = await pool.one("b")
    await pool.unit("a")
    assert await pool.redis("XLEN", pool.keys.queue("short")) == 1
    assert await pool.finish("b", running) == ["OK"]
    assert await pool.redis("XLEN", pool.keys.queue("short")) == 0
    await pool.pass_time(pool.settings.alive_s + 1)
    lapsed = Lease(held.id, 0, "short")
    assert await pool.store.requeue("a", lapsed, "", "lapsed", lapsed_only=True) == "SUPERSEDED"
    await pool.submit()
    assert await pool.redis("GET", pool.keys.bytes) == b"2"
