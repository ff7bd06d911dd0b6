"""lead and flip: who scales, and what no flip may do."""

import asyncio

import pytest

from common.keys import JobClass
from common.policy import Policy
from tests.lua.conftest import Clock, Pool, Until

NOW = Policy(qhap_cooldown_s=0)


async def flip(
    pool: Pool, unit: str, to: JobClass, policy: Policy = NOW, scaler: str = "scaler-1"
) -> str:
    return await pool.store.flip(scaler, unit, to, "a test", policy)


async def role(pool: Pool, unit: str) -> str:
    found: bytes = await pool.redis("GET", pool.keys.role(unit))
    return found.decode()


@pytest.fixture
async def led(pool: Pool) -> Pool:
    """A pool of three Short units that scaler-1 leads."""
    await pool.unit("a", "b", "c")
    assert await pool.store.lead("scaler-1", 60.0) is None
    return pool


# lead


async def test_one_scaler_leads_and_the_others_stand_by(pool: Pool) -> None:
    names = [f"scaler-{number}" for number in range(8)]
    answers = await asyncio.gather(*(pool.store.lead(name, 60.0) for name in names))
    (leader,) = [name for name, other in zip(names, answers, strict=True) if other is None]
    assert {other for other in answers if other is not None} == {leader}
    assert await pool.store.lead(leader, 60.0) is None


async def test_leading_is_kept_for_its_time_and_no_longer(pool: Pool) -> None:
    await pool.store.lead("scaler-1", 60.0)
    await pool.store.lead("scaler-1", 30.0)
    assert 0 < await pool.redis("PTTL", pool.keys.leader) <= 30_000


async def test_a_standby_takes_over_when_the_leader_is_silent(pool: Pool, until: Until) -> None:
    await pool.store.lead("scaler-1", 0.05)

    async def second_leads() -> bool:
        return await pool.store.lead("scaler-2", 60.0) is None

    await until(second_leads)
    assert await pool.store.lead("scaler-1", 60.0) == "scaler-2"


async def test_a_leader_that_resigns_is_followed_at_once(pool: Pool, until: Until) -> None:
    await pool.store.lead("scaler-1", 60.0)
    await pool.store.resign("scaler-1")

    async def second_leads() -> bool:
        return await pool.store.lead("scaler-2", 60.0) is None

    await until(second_leads)


async def test_a_standby_cannot_resign_for_the_leader(pool: Pool) -> None:
    await pool.store.lead("scaler-1", 60.0)
    await pool.store.resign("scaler-2")
    assert await pool.store.lead("scaler-2", 60.0) == "scaler-1"


# least


async def test_the_unit_with_the_fewest_jobs_of_its_role_is_named(pool: Pool) -> None:
    await pool.unit("c", "b", "a", "idle")
    await pool.unit("long", role="long")
    await pool.store.register("long", {})
    for name in ("c", "b", "a"):
        await pool.one(name)
    assert await pool.views.least("short") == "idle"
    await pool.store.set_draining("idle", draining=True)
    assert await pool.views.least("short") == "a"
    await pool.one("a")
    assert await pool.views.least("short") == "b"
    assert await pool.views.least("long") == "long"
    # Jobs of the other class are jobs.
    await pool.one("long", "long")
    await pool.store.lead("scaler-1", 60.0)
    literal = Policy(qhap_cooldown_s=0, qhap_min_long=0)
    assert await flip(pool, "long", "short", literal) == "OK"
    await pool.one("b")
    await pool.one("c")
    assert await pool.views.least("short") == "long"
    assert await pool.views.least("long") is None


async def test_a_silent_unit_is_not_named(pool: Pool) -> None:
    await pool.unit("a", "b")
    await pool.pass_time(pool.settings.alive_s + 1)
    assert await pool.views.least("short") is None
    await pool.store.register("b", {})
    assert await pool.views.least("short") == "b"


# flip


async def test_a_flip_changes_the_role_wakes_the_unit_and_is_noted(led: Pool) -> None:
    await led.claim("a")
    assert await flip(led, "a", "long") == "OK"
    assert await role(led, "a") == "long"
    assert await led.woken("a", "b", "c") == ["a"]
    assert not await led.is_hungry("a")
    (event,) = await led.events("flipped")
    assert (event["unit"], event["to"], event["reason"]) == ("a", "long", "a test")
    assert (await led.claim("a")).role == "long"


async def test_a_unit_that_was_woken_and_flips_hands_the_wake_up_on(led: Pool) -> None:
    await led.hungry("a", "b", "c")
    await led.submit()
    (woken,) = await led.woken("a", "b", "c")
    assert await flip(led, woken, "long") == "OK"
    others = {"a", "b", "c"} - {woken}
    assert await led.woken(woken) == [woken]
    assert len(await led.woken(*others)) == 1


async def test_jobs_in_flight_stay_through_a_flip(led: Pool) -> None:
    job = await led.one("a")
    assert await flip(led, "a", "long") == "OK"
    assert await led.active("a") == {"short": 1, "long": 0}
    assert await led.finish("a", job) == ["OK"]


async def test_only_the_leader_flips(led: Pool) -> None:
    assert await flip(led, "a", "long", scaler="scaler-2") == "NOT_LEADER"
    await led.redis("DEL", led.keys.leader)
    assert await flip(led, "a", "long") == "NOT_LEADER"
    assert await role(led, "a") == "short"


async def test_no_second_flip_within_the_cooldown(led: Pool, clock: Clock) -> None:
    policy = Policy(qhap_cooldown_s=20.0)
    assert await flip(led, "a", "long", policy) == "OK"
    assert await flip(led, "b", "long", policy) == "COOLDOWN"
    clock.advance(19.999)
    assert await flip(led, "b", "long", policy) == "COOLDOWN"
    clock.advance(0.001)
    assert await flip(led, "b", "long", policy) == "OK"


async def test_a_cooldown_of_zero_is_none(led: Pool) -> None:
    assert await flip(led, "a", "long") == "OK"
    assert await flip(led, "b", "long") == "OK"
    assert await led.redis("EXISTS", led.keys.cooldown) == 0


async def test_the_cooldown_key_goes_by_itself(led: Pool) -> None:
    await flip(led, "a", "long", Policy(qhap_cooldown_s=5.0))
    assert 0 < await led.redis("PTTL", led.keys.cooldown) <= 5000


async def test_an_operators_own_cooldown_holds(led: Pool) -> None:
    await led.redis("SET", led.keys.cooldown, "maintenance", "PX", 60_000)
    assert await flip(led, "a", "long") == "COOLDOWN"


@pytest.mark.parametrize("value", ["1", "0", "hold", ""])
async def test_on_the_servers_clock_any_cooldown_key_holds(led: Pool, value: str) -> None:
    led.clock.now_ms = await led.views.now_ms()
    await led.unit("a", "b", "c")
    by_server = type(led.store)(led.connection, led.settings)
    await led.redis("SET", led.keys.cooldown, value, "PX", 60_000)
    assert await by_server.flip("scaler-1", "a", "long", "", NOW) == "COOLDOWN"
    await led.redis("DEL", led.keys.cooldown)
    assert await by_server.flip("scaler-1", "a", "long", "", NOW) == "OK"


async def test_a_flip_to_the_same_role_changes_nothing(led: Pool) -> None:
    assert await flip(led, "a", "short", Policy()) == "SAME"
    await led.redis("DEL", led.keys.role("a"))
    assert await flip(led, "a", "short", Policy()) == "SAME"
    assert await led.redis("EXISTS", led.keys.cooldown) == 0
    assert await led.woken("a") == []


async def test_a_dead_or_unknown_unit_is_not_flipped(led: Pool, clock: Clock) -> None:
    assert await flip(led, "nobody", "long") == "DEAD"
    await led.pass_time(led.settings.alive_s + 1)
    await led.unit("b", "c")
    assert await flip(led, "a", "long") == "DEAD"
    assert await role(led, "a") == "short"


async def test_the_last_short_unit_stays(led: Pool) -> None:
    assert [await flip(led, unit, "long") for unit in ("a", "b", "c")] == ["OK", "OK", "MIN_SHORT"]
    assert await role(led, "c") == "short"


async def test_more_short_units_can_be_asked_for(led: Pool) -> None:
    policy = Policy(qhap_cooldown_s=0, qhap_min_short=3)
    assert await flip(led, "a", "long", policy) == "MIN_SHORT"


async def test_dead_and_draining_units_do_not_count_as_short(led: Pool, clock: Clock) -> None:
    await led.store.set_draining("b", draining=True)
    await led.pass_time(led.settings.alive_s + 1)
    await led.unit("a", "b")
    assert await flip(led, "a", "long") == "MIN_SHORT"


async def test_the_last_long_unit_stays(led: Pool) -> None:
    await led.unit("c", role="long")
    assert await flip(led, "c", "short") == "MIN_LONG"
    assert await flip(led, "c", "short", Policy(qhap_cooldown_s=0, qhap_min_long=0)) == "OK"


async def test_of_two_long_units_one_may_go(led: Pool) -> None:
    await led.unit("b", "c", role="long")
    assert await flip(led, "c", "short") == "OK"
    assert await flip(led, "b", "short") == "MIN_LONG"


async def test_the_last_long_unit_goes_when_there_is_no_short_one(pool: Pool) -> None:
    await pool.unit("a", role="long")
    await pool.store.lead("scaler-1", 60.0)
    assert await flip(pool, "a", "short") == "OK"


async def test_a_dead_long_unit_does_not_let_the_living_one_go(led: Pool, clock: Clock) -> None:
    await led.unit("b", "c", role="long")
    await led.pass_time(led.settings.alive_s + 1)
    await led.store.register("a", {})
    await led.store.register("b", {})
    assert await flip(led, "b", "short") == "MIN_LONG"


@pytest.mark.parametrize("min_short", [1, 2])
async def test_flips_at_once_leave_the_short_units_that_must_stay(
    led: Pool, min_short: int
) -> None:
    policy = Policy(qhap_cooldown_s=0, qhap_min_short=min_short)
    answers = await asyncio.gather(*(flip(led, unit, "long", policy) for unit in "abcabc"))
    assert answers.count("OK") == 3 - min_short
    assert [await role(led, unit) for unit in "abc"].count("short") == min_short


async def test_of_two_flips_at_once_within_a_cooldown_one_happens(led: Pool) -> None:
    policy = Policy(qhap_cooldown_s=20.0)
    answers = await asyncio.gather(*(flip(led, unit, "long", policy) for unit in "ab"))
    assert sorted(answers) == ["COOLDOWN", "OK"]
