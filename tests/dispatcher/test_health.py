"""When a unit is in the pool: only while it can take jobs."""

import httpx
from aiohttp import web

from tests.dispatcher.conftest import Dispatcher, Gateway, Pool, until
from tests.dispatcher.scripted import Call, ScriptedUnit, at_once, hang, when_released


async def probed(dispatcher: Dispatcher) -> None:
    await until(lambda: dispatcher.service._health.reason == "its /health does not answer")


async def test_a_unit_that_is_down_at_the_start_is_not_in_the_pool_and_claims_nothing(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit()
    await unit.stop()
    dispatcher = await pool.start(unit, unit_backoff_longest_s=0.2)
    job = await gateway.submit()
    await probed(dispatcher)
    assert (await pool.views.pool()).units == ()
    assert dispatcher.metric("adasplit_claims_total") == 0
    assert (await pool.job(job))["state"] == "queued"
    await unit.start()
    assert (await gateway.received(job)).end["outcome"] == "ok"
    await until(lambda: pool.alive("a"))
    (view,) = (await pool.views.pool()).units
    assert (view.models, view.url, view.limit) == (("scripted",), unit.url, 8)


async def test_a_wake_up_for_a_unit_that_is_down_brings_no_claim(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit()
    unit.healthy = False
    dispatcher = await pool.start(unit, unit_backoff_longest_s=0.1)
    await probed(dispatcher)
    await pool.connection.command("RPUSH", pool.store.keys.wake("a"), "claim")

    async def heard() -> bool:
        return not await pool.connection.command("EXISTS", pool.store.keys.wake("a"))

    await until(heard)
    job = await gateway.submit()
    assert dispatcher.metric("adasplit_claims_total") == 0
    unit.healthy = True
    assert (await gateway.received(job)).end["outcome"] == "ok"


async def test_a_unit_that_fails_leaves_the_pool_and_comes_back_by_itself(
    pool: Pool, gateway: Gateway
) -> None:
    async def answer(_: Call) -> web.StreamResponse:
        return web.Response(status=503)

    unit = await pool.unit(answer)
    dispatcher = await pool.dispatcher(unit)
    unit.healthy = False
    job = await gateway.submit()

    async def gone() -> bool:
        return not await pool.alive("a")

    await until(gone)
    assert dispatcher.metric("adasplit_unit_up") == 0
    unit.answer = at_once
    unit.healthy = True
    assert (await gateway.received(job)).attempts == {2}
    await until(lambda: pool.alive("a"))
    assert dispatcher.metric("adasplit_unit_up") == 1


async def test_jobs_that_run_go_on_while_their_unit_takes_no_new_ones(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(when_released)
    await pool.dispatcher(unit)
    running = await gateway.submit()
    await until(lambda: unit.in_flight == 1)
    unit.healthy = False

    async def gone() -> bool:
        return not await pool.alive("a")

    await until(gone)
    waiting = await gateway.submit()
    unit.release(running)
    assert (await gateway.received(running)).end["outcome"] == "ok"
    assert (await pool.job(waiting))["state"] == "queued"
    unit.healthy = True
    unit.release(waiting)
    assert (await gateway.received(waiting)).end["outcome"] == "ok"


async def test_the_admin_pages_say_whether_the_unit_takes_jobs(pool: Pool) -> None:
    unit = await pool.unit()
    unit.healthy = False
    dispatcher = await pool.start(unit, unit_backoff_longest_s=0.1)
    await probed(dispatcher)
    async with httpx.AsyncClient(base_url=dispatcher.url, trust_env=False) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        unit.healthy = True
        await until(lambda: pool.alive("a"))
        assert (await client.get("/readyz")).status_code == 200
        page = (await client.get("/metrics")).text
        assert f'adasplit_unit_up{{pool="{pool.name}",unit="a"}} 1.0' in page
        unit.probe_hangs = True


def failing_first(unit: ScriptedUnit, calls: int = 1) -> None:
    """Let a unit answer 500 so often, and then as a test releases its jobs."""

    async def answer(call: Call) -> web.StreamResponse:
        if len(unit.calls) <= calls:
            return web.Response(status=500)
        return await when_released(call)

    unit.answer = answer


async def test_a_unit_that_failed_a_call_is_on_trial_with_one_job(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit()
    failing_first(unit)
    await pool.dispatcher(unit, claim_poll_s=0.02)
    first = await gateway.submit()
    await until(lambda: len(unit.calls) == 2)
    more = await gateway.submit_many(4)
    beaten = await beat_of(pool)
    # Time for many claims, of which none may come.
    await until(lambda: has_beaten(pool, since=beaten + 500))
    assert (unit.in_flight, await pool.views.depth("short")) == (1, 4)
    unit.release(first)
    await until(lambda: unit.in_flight == 4)
    unit.release(*more)
    for job in (first, *more):
        assert (await gateway.received(job)).end["outcome"] == "ok"


async def beat_of(pool: Pool) -> float:
    return float(await pool.connection.command("ZSCORE", pool.store.keys.units, "a") or 0)


async def has_beaten(pool: Pool, since: float) -> bool:
    return await beat_of(pool) > since


async def test_a_trial_whose_job_is_cancelled_is_tried_again(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit()
    failing_first(unit)
    await pool.dispatcher(unit)
    first = await gateway.submit()
    await until(lambda: len(unit.calls) == 2)
    second = await gateway.submit()
    await gateway.cancel(first)
    unit.release(second)
    assert (await gateway.received(second)).end["outcome"] == "ok"


async def test_a_unit_that_failed_once_is_asked_again_before_the_next_regular_probe(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit()
    failing_first(unit)
    await pool.dispatcher(unit, probe_s=3600.0)
    job = await gateway.submit()
    unit.release(job)
    assert (await gateway.received(job)).end["outcome"] == "ok"


async def test_a_whole_answer_of_a_unit_whose_health_is_silent_too_is_given_up(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(hang)
    await pool.dispatcher(unit, first_byte_timeout_s=0.3, unit_backoff_longest_s=0.1)
    job = await gateway.submit(stream=False)
    await until(lambda: unit.in_flight == 1)
    unit.healthy = False
    await until(lambda: unit.aborted[job] == 1)
    unit.answer = at_once
    unit.healthy = True
    assert (await gateway.received(job)).attempts == {2}
    reasons = [event.get("reason") for event in await pool.views.events()]
    assert "no byte for 0.3 s" in reasons


async def test_a_whole_answer_that_takes_too_long_is_given_up_by_a_healthy_unit_too(
    pool: Pool, gateway: Gateway
) -> None:
    async def hang_once(call: Call) -> web.StreamResponse:
        call.unit.answer = at_once
        return await hang(call)

    unit = await pool.unit(hang_once)
    await pool.dispatcher(unit, whole_answer_timeout_s=1.0)
    job = await gateway.submit(stream=False)
    assert (await gateway.received(job)).attempts == {2}
    await until(lambda: unit.aborted[job] == 1)


async def test_a_half_broken_unit_costs_no_client_an_answer(pool: Pool, gateway: Gateway) -> None:
    async def broken(_: Call) -> web.StreamResponse:
        return web.Response(status=500)

    bad, well = await pool.unit(broken), await pool.unit(at_once)
    await pool.dispatcher(bad, "bad")
    await pool.dispatcher(well, "well")
    for _ in range(10):
        for job in await gateway.submit_many(6):
            assert (await gateway.received(job)).end["outcome"] == "ok"
    assert 1 <= len(bad.calls) < 20
