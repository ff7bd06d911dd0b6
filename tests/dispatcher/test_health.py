"""When a unit is in the pool: only while it can take jobs."""

import httpx
from aiohttp import web

from tests.dispatcher.conftest import Dispatcher, Gateway, Pool, until
from tests.dispatcher.scripted import Call, at_once, when_released


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
