"""Who counts as dead: units, gateways and leases, also after Redis itself was away."""

from common.models import Lease
from tests.lua.conftest import GATEWAY, Clock, Pool


async def outage(pool: Pool, seconds: float = 120.0) -> None:
    """Redis was away: time has passed and nobody could beat."""
    pool.clock.advance(seconds)


async def test_a_silent_gateways_job_is_cancelled_at_its_claim(pool: Pool) -> None:
    await pool.unit("a")
    await pool.store.beat("silent")
    (job,) = await pool.submit(gateway="silent")
    await pool.pass_time(pool.settings.alive_s)
    assert await pool.store.forget("silent", dead_only=True) is False
    await pool.pass_time(0.001)
    assert await pool.take("a") == []
    known = await pool.job(job)
    assert (known["outcome"], known["reason"]) == ("cancelled", "gateway gone")


async def test_a_gateway_that_redis_forgot_beats_before_its_job_is_queued(pool: Pool) -> None:
    await pool.unit("a")
    await pool.store.forget(GATEWAY)
    (job,) = await pool.submit()
    assert await pool.take("a") == [job]
    assert await pool.redis("EXISTS", pool.keys.reply(GATEWAY)) == 1


async def test_a_submit_is_a_sign_of_life(pool: Pool) -> None:
    await pool.store.beat("busy")
    await pool.pass_time(pool.settings.alive_s)
    await pool.submit(gateway="busy")
    await pool.pass_time(pool.settings.alive_s)
    assert await pool.store.forget("busy", dead_only=True) is False


async def test_a_dead_gateway_is_forgotten_with_its_answers(pool: Pool) -> None:
    await pool.store.beat("dead")
    await pool.pass_time(pool.settings.alive_s + 1)
    assert await pool.store.forget("dead", dead_only=True) is True
    assert await pool.redis("EXISTS", pool.keys.reply("dead")) == 0
    assert await pool.redis("ZSCORE", pool.keys.gateways, "dead") is None


async def test_a_gateway_that_leaves_is_forgotten_at_once(pool: Pool) -> None:
    await pool.store.beat("leaving")
    assert await pool.store.forget("leaving") is True
    assert await pool.redis("ZSCORE", pool.keys.gateways, "leaving") is None


async def test_after_an_outage_a_gateway_has_time_to_beat(pool: Pool) -> None:
    await pool.unit("a")
    (job,) = await pool.submit()
    await outage(pool)
    assert await pool.store.forget(GATEWAY, dead_only=True) is False
    await pool.unit("a")
    assert await pool.store.forget(GATEWAY, dead_only=True) is False
    assert await pool.take("a") == [job]


async def test_a_gateway_that_does_not_come_back_after_an_outage_is_dead_a_while_later(
    pool: Pool,
) -> None:
    await pool.store.beat("lost")
    await outage(pool)
    await pool.pass_time(pool.settings.alive_s + 1)
    assert await pool.store.forget("lost", dead_only=True) is False
    await pool.pass_time(pool.settings.alive_s)
    assert await pool.store.forget("lost", dead_only=True) is True


async def test_who_was_dead_before_an_outage_is_dead_after_it(pool: Pool) -> None:
    await pool.store.beat("dead")
    await pool.pass_time(pool.settings.alive_s + 1)
    await outage(pool)
    await pool.store.beat(GATEWAY)
    assert await pool.store.forget("dead", dead_only=True) is True


async def test_an_outage_in_the_grace_of_another_judges_nobody(pool: Pool, clock: Clock) -> None:
    await pool.store.beat("slow")
    await outage(pool)
    await pool.store.beat(GATEWAY)
    clock.advance(1)
    await outage(pool, pool.settings.alive_s)
    assert await pool.store.forget("slow", dead_only=True) is False
    await pool.store.beat(GATEWAY)
    assert await pool.store.forget("slow", dead_only=True) is False


async def test_a_lease_that_lapsed_in_an_outage_is_its_holders_to_renew(pool: Pool) -> None:
    await pool.unit("a", "b")
    job = await pool.one("a")
    await outage(pool)
    assert await pool.requeue("a", job, lapsed_only=True) == "HELD"
    await pool.unit("b")
    assert await pool.requeue("a", job, lapsed_only=True) == "HELD"
    assert await pool.store.renew("a", [(job.id, job.attempt)]) == ()
    await pool.pass_time(pool.settings.alive_s)
    assert await pool.requeue("a", job, lapsed_only=True) == "OK"


async def test_a_lease_that_had_lapsed_before_an_outage_is_reclaimed_after_it(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.pass_time(pool.settings.lease_s + 1)
    await outage(pool)
    assert await pool.requeue("a", job, lapsed_only=True) == "OK"


async def test_units_are_woken_after_an_outage_before_they_beat(pool: Pool) -> None:
    await pool.hungry("a")
    await outage(pool)
    await pool.submit()
    assert await pool.woken("a") == ["a"]


async def test_a_unit_that_leaves_after_an_outage_is_silent_at_once(pool: Pool) -> None:
    await pool.unit("a", "b")
    await pool.one("a")
    await outage(pool)
    assert await pool.store.leave("a") == 1
    await pool.store.lead("scaler-1", 60.0)
    assert await pool.store.flip("scaler-1", "a", "long", "test") == "DEAD"
    await pool.store.register("b", {})
    assert await pool.store.flip("scaler-1", "a", "long", "test") == "DEAD"


async def test_a_flip_after_an_outage_counts_the_units_that_lived(pool: Pool) -> None:
    await pool.unit("a", "b")
    await outage(pool)
    await pool.store.lead("scaler-1", 60.0)
    await pool.store.register("a", {})
    assert await pool.store.flip("scaler-1", "a", "long", "test") == "OK"


async def test_the_views_judge_as_the_scripts_do(real_pool: Pool) -> None:
    pool = real_pool
    now_ms = await pool.views.now_ms()
    alive_ms = round(pool.settings.alive_s * 1000)

    async def judged(**pulse: int) -> int:
        for name, value in pulse.items():
            await pool.redis("HSET", pool.keys.pulse, name, value)
        return (await pool.views.overdue("a")).judged_ms - now_ms

    async def lives(beat_ms: int) -> bool:
        await pool.redis("ZADD", pool.keys.units, beat_ms, "a")
        await pool.redis("ZADD", pool.keys.gateways, beat_ms, "g")
        gone = await pool.views.gone_gateways(["g"])
        silent = (await pool.views.overdue("a")).gateways
        (unit,) = (await pool.views.pool()).units
        assert unit.alive == (not gone) == (not silent)
        return unit.alive

    pool.clock.now_ms = now_ms
    await pool.redis("DEL", pool.keys.gateways)
    assert 0 <= await judged(beat_ms=now_ms) < alive_ms / 2
    assert await lives(now_ms - alive_ms + 20_000)
    assert not await lives(now_ms - alive_ms - 1)
    # Nobody has beaten since an outage began.
    assert await judged(beat_ms=now_ms - 600_000) == -600_000
    assert await lives(now_ms - 600_000 - alive_ms)
    assert not await lives(now_ms - 600_001 - alive_ms)
    # Somebody has.
    assert await judged(beat_ms=now_ms, grace_ms=now_ms + 60_000, spoke_ms=now_ms - 9) == -9
    # Redis was away again before all had.
    assert await judged(beat_ms=now_ms - 600_000, grace_ms=now_ms - 599_000) == -9
    assert await pool.views.gone_gateways(["never heard of"]) == ["never heard of"]


async def test_the_jobs_of_a_gateway_are_found_whatever_they_are_at(pool: Pool) -> None:
    await pool.unit("a")
    await pool.store.beat("other")
    running = await pool.one("a", gateway="other")
    back = await pool.one("a", gateway="other")
    await pool.requeue("a", back)
    queued = await pool.submit(gateway="other", count=2)
    mine = await pool.submit(count=600)
    assert await pool.views.jobs_of("other", "short") == [running.id, back.id, *queued]
    assert await pool.views.jobs_of("other", "long") == []
    assert await pool.views.jobs_of(GATEWAY, "short") == mine


async def test_a_lapsed_lease_is_found_as_of_the_time_that_is_judged(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    lapses_ms = (await pool.leases("a"))[job.id]
    lease = Lease(job.id, 1, "short")
    assert await pool.views.lapsed("a", lapses_ms - 1) == []
    assert await pool.views.lapsed("a", lapses_ms) == [(lease, GATEWAY)]
