"""What Redis does not hear, or answers and nobody hears: nothing is lost, nothing comes twice."""

import asyncio

from aiohttp import web

from common.models import ClaimedJob, Finish, Relay
from tests.dispatcher.conftest import Gateway, Pool, until
from tests.dispatcher.scripted import (
    DONE,
    USAGE,
    Call,
    at_once,
    begin_then_hang,
    event,
    when_released,
)


async def test_a_relay_whose_reply_was_lost_counts_once(pool: Pool, gateway: Gateway) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        response = await call.stream(event("first"))
        await call.released()
        await response.write(event("second"))
        await response.write(DONE)
        return response

    unit = await pool.unit(answer)
    dispatcher = await pool.dispatcher(unit)
    sent = _watch_relays(dispatcher.service._store)
    job = await gateway.submit()
    await gateway.begun(job)
    dispatcher.connection.lost_reply = "relay"
    unit.release(job)
    got = await gateway.received(job)
    assert got.body == event("first") + event("second") + DONE
    assert got.attempts == {1}
    await until(lambda: len(dispatcher.service._running) == 0)
    await gateway.read()
    assert gateway.seen(job) == got
    numbers = [(relay.run, relay.number) for relay in sent]
    assert len(numbers) > len(set(numbers))
    assert len({run for run, _ in numbers}) == 1


def _watch_relays(store: object) -> list[Relay]:
    sent: list[Relay] = []
    turn, post = store.turn, store.post  # type: ignore[attr-defined]  # any store

    async def watched(*args: object, relays: list[Relay], **more: object) -> object:
        sent.extend(relays)
        return await turn(*args, relays=relays, **more)

    def watched_post(unit: str, relays: list[Relay], done: object) -> object:
        sent.extend(relays)
        return post(unit, relays, done)

    store.turn, store.post = watched, watched_post  # type: ignore[attr-defined]  # any store
    return sent


async def test_chunks_arrive_once_when_redis_forgets_its_scripts_on_the_way(
    pool: Pool, gateway: Gateway
) -> None:
    events = [event(f"{number}") for number in range(6)]

    async def answer(call: Call) -> web.StreamResponse:
        response = await call.stream(events[0])
        await call.released()
        for one in events[1:]:
            await response.write(one)
            # One after the other: each is to be sent on its own.
            await asyncio.sleep(0.02)
        await response.write(DONE)
        return response

    unit = await pool.unit(answer)
    dispatcher = await pool.dispatcher(unit)
    sent = _watch_relays(dispatcher.service._store)
    job = await gateway.submit()
    await gateway.begun(job)
    await pool.connection.command("SCRIPT", "FLUSH")
    unit.release(job)
    got = await gateway.received(job)
    assert got.body == b"".join(events) + DONE
    assert got.end["outcome"] == "ok"
    # The one that Redis did not know went again with a turn.
    numbers = [relay.number for relay in sent]
    assert len(numbers) > len(set(numbers))


async def test_an_outcome_that_redis_did_not_hear_is_told_again(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(when_released)
    dispatcher = await pool.dispatcher(unit)
    for stream in (True, False):
        job = await gateway.submit(stream=stream)
        await until(lambda: unit.in_flight == 1)
        dispatcher.connection.lost_request = "finish"
        unit.release(job)
        got = await gateway.received(job)
        assert got.body == event(job) + USAGE + DONE
        assert (got.end["outcome"], got.attempts) == ("ok", {1})
        assert unit.jobs().count(job) == 1
        assert (await pool.events(job))["requeued"] == 0


async def test_an_outcome_whose_reply_was_lost_is_recorded_once(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(when_released)
    dispatcher = await pool.dispatcher(unit)
    job = await gateway.submit()
    await until(lambda: unit.in_flight == 1)
    dispatcher.connection.lost_reply = "finish"
    unit.release(job)
    got = await gateway.received(job)
    assert (got.kinds[-1], got.end["outcome"]) == ("end", "ok")
    await until(lambda: len(dispatcher.service._running) == 0)
    await gateway.read()
    assert gateway.seen(job) == got
    assert (await pool.events(job))["finished"] == 1


async def test_a_claim_whose_reply_was_lost_gives_its_jobs_back_at_once(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(at_once)
    dispatcher = await pool.dispatcher(unit, lease_s=600.0)
    dispatcher.connection.lost_reply = "claim"
    jobs = await gateway.submit_many(3)
    for job in jobs:
        assert (await gateway.received(job)).end["outcome"] == "ok"
    assert dispatcher.connection.lost_reply == ""
    known = [await pool.job(job) for job in jobs]
    assert {"1"} <= {fields.get("spared") for fields in known}
    assert sorted(unit.jobs()) == jobs


async def test_a_lost_claim_does_not_touch_what_runs(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(when_released)
    dispatcher = await pool.dispatcher(unit, lease_s=600.0)
    running = await gateway.submit()
    await until(lambda: unit.in_flight == 1)
    dispatcher.connection.lost_reply = "claim"
    claimed = await gateway.submit()
    await until(lambda: unit.in_flight == 2)
    unit.release(running, claimed)
    assert (await gateway.received(running)).attempts == {1}
    assert (await gateway.received(claimed)).attempts == {2}


async def test_bytes_wait_while_redis_is_away_and_none_is_lost(
    pool: Pool, gateway: Gateway
) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        response = await call.stream(event("first"))
        await call.released()
        for n in range(50):
            await response.write(event(str(n)))
            await asyncio.sleep(0)  # lets the dispatcher read in between
        await response.write(DONE)
        return response

    unit = await pool.unit(answer)
    dispatcher = await pool.dispatcher(unit)
    job = await gateway.submit()
    await gateway.begun(job)
    dispatcher.connection.away = True
    unit.release(job)
    await until(lambda: unit.in_flight == 0)
    await until(lambda: dispatcher.service._running._jobs[job].ended)
    dispatcher.connection.away = False
    got = await gateway.received(job)
    assert got.body == b"".join([event("first"), *(event(str(n)) for n in range(50)), DONE])
    assert (got.end["outcome"], got.attempts) == ("ok", {1})


async def test_an_outage_longer_than_the_lease_takes_nothing_from_a_lone_dispatcher(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(begin_then_hang)
    dispatcher = await pool.dispatcher(unit, renew_s=0.9, lease_s=2.0)
    job = await gateway.submit()
    await gateway.begun(job)
    # As after the outage: the lease ran out, and the reclaimer looks before the renewer does.
    await pool.connection.command("ZADD", pool.store.keys.leases("a"), 1, job)
    await dispatcher.service._reclaimer.step()
    assert (await pool.job(job))["state"] == "running"
    await dispatcher.service._renewer.step()
    now_ms = await pool.views.now_ms()
    assert await pool.views.lapsed("a", now_ms) == []


async def test_a_dispatcher_that_starts_before_redis_claims_once_it_is_there(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(at_once)
    dispatcher = await pool.start(unit)
    dispatcher.connection.away = True
    job = await gateway.submit()
    dispatcher.connection.away = False
    assert (await gateway.received(job)).end["outcome"] == "ok"


async def test_bytes_of_two_attempts_in_one_turn_stay_apart(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(when_released)
    dispatcher = await pool.dispatcher(unit)
    job = await gateway.submit()
    await until(lambda: unit.in_flight == 1)
    claimed: ClaimedJob = dispatcher.service._running._jobs[job].job
    older = ClaimedJob(**{**claimed.__dict__, "attempt": 0})
    forwarder = dispatcher.service._forwarder
    forwarder.put(older, "chunk", b"old")
    forwarder.put(claimed, "head", b"{}")
    forwarder.put(claimed, "chunk", b"new")
    got = await gateway.begun(job)
    assert (got.body, got.attempts) == (b"new", {1})
    unit.release(job)
    assert "ok" in str((await gateway.received(job)).end)


async def test_a_finish_of_an_older_attempt_settles_nothing(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(when_released)
    dispatcher = await pool.dispatcher(unit)
    job = await gateway.submit()
    await until(lambda: unit.in_flight == 1)
    stale = Finish(job, 0, "short", gateway.name, "failed")
    dispatcher.service._forwarder.finish(stale)
    await until(dispatcher.service._forwarder.sent_all.is_set)
    assert job in dispatcher.service._running
    unit.release(job)
    assert (await gateway.received(job)).end["outcome"] == "ok"
