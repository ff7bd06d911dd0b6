"""Long jobs on a Short unit: what they cost is measured, and they are handed back on request."""

from typing import Any

from aiohttp import web

from common.models import ClaimedJob
from tests.dispatcher.conftest import Dispatcher, Gateway, Pool, until
from tests.dispatcher.scripted import (
    Call,
    ScriptedUnit,
    at_once,
    begin_then_hang,
    event,
    when_released,
)

SCALER = "scaler-1"


async def hang_at_first(call: Call) -> web.StreamResponse:
    """Each job's second attempt is answered."""
    if call.unit.jobs().count(call.job) == 1 and call.job == call.unit.calls[0].job:
        await call.hang()
    return await at_once(call)


async def thief(pool: Pool, unit: ScriptedUnit, **changes: object) -> Dispatcher:
    """A dispatcher of a Short unit with one slot, which steals at once."""
    usual = {"rasp_steal_cooldown_s": 0.0, "worker_concurrency_limit": 1}
    return await pool.dispatcher(unit, **(usual | changes))


async def stolen(gateway: Gateway, unit: ScriptedUnit, *, stream: bool = True) -> str:
    job = await gateway.submit(job_class="long", stream=stream)
    await until(lambda: unit.in_flight == 1)
    return job


async def ask_back(pool: Pool) -> str:
    assert await pool.store.lead(SCALER, 60) is None
    (found,) = (await pool.views.survey(["a"])).prefilling
    return await pool.store.revoke(SCALER, found, 1, "a short job waits")


async def test_a_stolen_job_is_handed_back_and_the_short_job_runs(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(hang_at_first)
    dispatcher = await thief(pool, unit)
    job = await stolen(gateway, unit)
    short = await gateway.submit()
    assert await ask_back(pool) == "OK"
    assert (await gateway.received(short)).end["outcome"] == "ok"
    assert unit.aborted == {job: 1}
    # Once no short job waits it is stolen again, and answered.
    got = await gateway.received(job)
    assert (got.end["outcome"], got.attempts) == ("ok", {2})
    record = await pool.job(job)
    assert (record["spared"], record["revoked"], record["attempt"]) == ("1", "1", "2")
    assert dispatcher.metric("adasplit_requeued_jobs_total", reason="revoked") == 1
    assert dispatcher.metric("adasplit_aborted_jobs_total", reason="revoked") == 1
    assert dispatcher.metric("adasplit_unit_faults_total") == 0


async def test_a_job_that_has_sent_a_byte_is_kept_whoever_asks(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(begin_then_hang)
    await thief(pool, unit, worker_concurrency_limit=2)
    job = await stolen(gateway, unit)
    assert (await gateway.begun(job)).body == event("first")
    # The dispatcher knows before Redis does, so it is asked here behind the script's back.
    await pool.connection.command("RPUSH", pool.store.keys.wake("a"), f"revoke:{job}:1")
    unit.answer = at_once
    # The wake-up for this one is read after that message.
    assert (await gateway.received(await gateway.submit())).end["outcome"] == "ok"
    assert (unit.in_flight, unit.aborted) == (1, {})
    assert await pool.held("a") == [job]


async def test_a_byte_that_comes_while_it_is_handed_back_is_not_sent(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(hang_at_first)
    dispatcher = await thief(pool, unit)
    client, receivers = dispatcher.service._client, []
    post = client.post

    async def noting(job: ClaimedJob, receiver: Any, *more: Any) -> None:
        receivers.append(receiver)
        await post(job, receiver, *more)

    client.post = noting  # type: ignore[method-assign]  # to speak as the unit between two steps
    job = await stolen(gateway, unit)
    running = dispatcher.service._running.all()[0]
    running.abort("revoked")
    receivers[0].head(200, "text/event-stream")
    receivers[0].body(event("late"))
    assert not running.sent
    got = await gateway.received(job)
    assert (got.end["outcome"], got.attempts) == ("ok", {2})
    assert b"late" not in got.body


async def test_what_short_jobs_lose_to_a_steal_is_measured(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(when_released)
    dispatcher = await thief(pool, unit)
    job = await stolen(gateway, unit)
    short = await gateway.submit()

    async def charged() -> bool:
        return int((await pool.job(job)).get("regret_ms", 0)) > 0

    await until(charged)
    unit.release(job, short)
    await gateway.received(short)
    await until(lambda: dispatcher.metric("adasplit_steal_regret_seconds_count") == 1)
    (weighed,) = (e for e in await pool.views.events() if e["event"] == "weighed")
    assert weighed["job"] == job
    regret_s = int(weighed["regret_ms"]) / 1000
    assert 0 < regret_s <= int(weighed["prefill_ms"]) / 1000
    assert dispatcher.metric("adasplit_steal_regret_seconds_sum") == regret_s
    assert (await pool.views.stealing()).steals == 1


async def test_short_jobs_behind_it_on_its_unit_count_too(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(when_released)
    await thief(pool, unit, worker_concurrency_limit=2)
    job = await stolen(gateway, unit)
    short = await gateway.submit()
    await until(lambda: unit.in_flight == 2)

    async def charged() -> bool:
        return int((await pool.job(job)).get("regret_ms", 0)) > 0

    await until(charged)
    unit.release(job, short)
    await gateway.received(short)


async def test_of_an_answer_in_one_piece_the_prefill_is_as_long_as_estimated(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(when_released)
    dispatcher = await thief(pool, unit)
    job = await stolen(gateway, unit, stream=False)
    await until(lambda: dispatcher.metric("adasplit_steal_regret_seconds_count") == 1)
    assert unit.in_flight == 1
    unit.release(job)
    await gateway.received(job)


async def test_the_account_of_a_steal_survives_an_outage(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(when_released)
    dispatcher = await thief(pool, unit)
    job = await stolen(gateway, unit)
    dispatcher.connection.lost_request = "weigh"
    await until(lambda: not dispatcher.connection.lost_request)
    unit.release(job)
    await until(lambda: dispatcher.metric("adasplit_steal_regret_seconds_count") == 1)
    await gateway.received(job)
