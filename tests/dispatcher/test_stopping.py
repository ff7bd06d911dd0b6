"""How a dispatcher goes: it claims nothing more, and leaves nothing behind."""

import pytest
from aiohttp import web

from tests.dispatcher.conftest import LIMIT_S, Gateway, LateTurns, Pool, until
from tests.dispatcher.scripted import (
    Call,
    at_once,
    begin_then_hang,
    event,
    hang,
    when_released,
)


async def test_a_stopping_dispatcher_claims_nothing_more_and_finishes_what_runs(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(when_released)
    dispatcher = await pool.dispatcher(unit, drain_s=LIMIT_S)
    running = await gateway.submit_many(8)
    waiting = await gateway.submit_many(3)
    await until(lambda: unit.in_flight == 8)
    dispatcher.stop.set()

    async def left() -> bool:
        return not await pool.alive("a")

    await until(left)
    unit.release(*running)
    await dispatcher.stopped()
    for job in running:
        got = await gateway.received(job)
        assert (got.end["outcome"], got.attempts) == ("ok", {1})
    assert sorted(unit.jobs()) == sorted(running)
    assert [(await pool.job(job))["state"] for job in waiting] == ["queued"] * 3
    assert (await pool.views.pool()).units == ()


async def test_leases_are_renewed_while_it_drains(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(when_released)
    dispatcher = await pool.dispatcher(unit, drain_s=LIMIT_S, renew_s=0.1)
    job = await gateway.submit()
    await until(lambda: unit.in_flight == 1)
    dispatcher.stop.set()

    async def left() -> bool:
        return not await pool.alive("a")

    await until(left)
    leases = pool.store.keys.leases("a")
    before = float(await pool.connection.command("ZSCORE", leases, job))

    async def renewed() -> bool:
        return float(await pool.connection.command("ZSCORE", leases, job)) > before

    await until(renewed)
    unit.release(job)
    await dispatcher.stopped()


async def test_what_outlives_the_drain_is_requeued_and_spared(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(hang)
    dispatcher = await pool.dispatcher(unit, drain_s=0.1)
    jobs = [await gateway.submit(), await gateway.submit(stream=False)]
    await until(lambda: unit.in_flight == 2)
    await dispatcher.stopped()
    await until(lambda: sorted(unit.aborted) == jobs)
    for job in jobs:
        known = await pool.job(job)
        assert (known["state"], known["spared"]) == ("queued", "1")
    await pool.dispatcher(await pool.unit(at_once), "b")
    for job in jobs:
        assert (await gateway.received(job)).attempts == {2}


async def test_a_stream_that_outlives_the_drain_ends_as_failed(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(begin_then_hang)
    dispatcher = await pool.dispatcher(unit, drain_s=0.1)
    job = await gateway.submit()
    await gateway.begun(job)
    await dispatcher.stopped()
    got = await gateway.received(job)
    assert (got.end["outcome"], got.body) == ("failed", event("first"))


async def test_a_claim_under_way_when_it_stops_is_given_back(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(at_once)
    dispatcher = await pool.dispatcher(unit, claim_poll_s=600.0)
    await until(dispatcher.service._forwarder.sent_all.is_set)
    late = LateTurns(dispatcher)
    job = await gateway.submit()
    await until(late.answered.is_set)
    assert await pool.held("a") == [job]
    dispatcher.stop.set()

    async def left() -> bool:
        return not await pool.alive("a")

    await until(left)
    late.go_on.set()
    await dispatcher.stopped()
    assert unit.calls == []
    known = await pool.job(job)
    assert (known["state"], known["spared"]) == ("queued", "1")


async def test_it_stops_at_once_while_its_unit_hangs_in_a_probe(
    pool: Pool, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Then the probe ends only because the dispatcher stops.
    monkeypatch.setattr("dispatcher.unit_client._PROBE_S", 3600.0)
    unit = await pool.unit(when_released)
    dispatcher = await pool.dispatcher(unit, probe_s=0.05, drain_s=LIMIT_S)
    job = await gateway.submit()
    await until(lambda: unit.in_flight == 1)
    unit.probe_hangs = True
    await until(lambda: unit.probes_open == 1)
    waiting = await gateway.submit_many(8)
    await until(lambda: unit.in_flight == 8)
    dispatcher.stop.set()
    unit.release(job, *waiting)
    await dispatcher.stopped()
    assert len(unit.calls) == 8


async def test_it_stops_with_redis_away(
    pool: Pool, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.service._LAST_WORDS_S", 0.3)

    async def answer(call: Call) -> web.StreamResponse:
        response = await call.stream(event("first"))
        await call.hang()
        return response

    unit = await pool.unit(answer)
    dispatcher = await pool.dispatcher(unit, drain_s=0.1)
    job = await gateway.submit()
    await gateway.begun(job)
    dispatcher.connection.away = True
    await dispatcher.stopped()
    await until(lambda: unit.aborted[job] == 1)
    assert await pool.held("a") == [job]
    # Whoever comes next under this name gives it back at once.
    unit.answer = at_once
    await pool.dispatcher(unit)
    assert (await gateway.received(job)).parts[-1].attempt == 2


async def test_a_dispatcher_that_never_saw_its_unit_stops(pool: Pool) -> None:
    unit = await pool.unit()
    await unit.stop()
    dispatcher = await pool.start(unit)
    await until(lambda: dispatcher.service._health.reason == "its /health does not answer")
    await dispatcher.stopped()
    assert (await pool.views.pool()).units == ()
