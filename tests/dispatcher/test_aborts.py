"""What ends a call at the unit before its answer is complete."""

import asyncio

from aiohttp import web

from common.models import ClaimedJob, Lease
from dispatcher.running import RunningJobs
from tests.dispatcher.conftest import Dispatcher, Gateway, LateTurns, Pool, until
from tests.dispatcher.scripted import (
    DONE,
    Call,
    at_once,
    begin_then_hang,
    event,
    hang,
    when_released,
)


async def test_a_cancelled_job_is_aborted_at_the_unit_and_frees_its_slot(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(begin_then_hang)
    # Neither a claim nor a renewal brings the news: those are minutes away.
    await pool.dispatcher(unit, claim_poll_s=600.0, lease_s=600.0, renew_s=250.0)
    job = await gateway.submit()
    await gateway.begun(job)
    assert await gateway.cancel(job) == "ASKED"
    await until(lambda: unit.aborted[job] == 1)
    got = await gateway.received(job)
    assert (got.end["outcome"], got.body) == ("cancelled", event("first"))
    assert await pool.held("a") == []
    assert await pool.active("a") == {"short": 0}


async def test_a_cancelled_job_that_is_not_streamed_is_aborted_too(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(hang)
    await pool.dispatcher(unit)
    job = await gateway.submit(stream=False)
    await until(lambda: unit.in_flight == 1)
    await gateway.cancel(job)
    await until(lambda: unit.aborted[job] == 1)
    assert (await gateway.received(job)).kinds == ["end"]
    assert await pool.outcome(job) == "cancelled"


async def test_a_cancel_between_claim_and_first_step_keeps_the_unit_uncalled(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(at_once)
    dispatcher = await pool.dispatcher(unit)
    caller = dispatcher.service._caller
    start = caller.start

    def start_cancelled(job: ClaimedJob) -> object:
        running = start(job)
        dispatcher.service._running.cancel(job.id, job.attempt)
        return running

    caller.start = start_cancelled  # type: ignore[method-assign, assignment]  # the moment in question
    job = await gateway.submit()
    assert (await gateway.received(job)).end["outcome"] == "cancelled"
    assert unit.calls == []


async def test_a_cancel_that_overtakes_the_reply_of_the_claim_still_counts(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(hang)
    dispatcher = await pool.dispatcher(unit, claim_poll_s=600.0)
    late = LateTurns(dispatcher)
    job = await gateway.submit()
    await until(late.answered.is_set)
    assert await gateway.cancel(job) == "ASKED"
    await until(lambda: (job, 1) in dispatcher.service._running._early_cancels)
    late.go_on.set()
    assert (await gateway.received(job)).end["outcome"] == "cancelled"
    assert unit.calls == []


async def test_a_cancel_while_the_job_is_given_back_leaves_no_lease(
    pool: Pool, gateway: Gateway
) -> None:
    async def answer(_: Call) -> web.StreamResponse:
        return web.Response(status=500)

    unit = await pool.unit(answer)
    dispatcher = await pool.dispatcher(unit, probe_s=600.0, lease_s=600.0)
    dispatcher.connection.lost_request = "requeue"
    job = await gateway.submit()
    await until(lambda: dispatcher.connection.lost_request == "")
    dispatcher.service._running.cancel(job, 1)

    async def given_back() -> bool:
        return (await pool.job(job))["state"] == "queued"

    await until(given_back)
    assert await pool.held("a") == []


async def test_a_stream_ends_at_the_unit_when_its_gateway_is_gone(
    pool: Pool, gateway: Gateway
) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        response = await call.stream(event("first"))
        while True:
            await call.released()
            await response.write(event("more"))
            await asyncio.sleep(0.01)  # a token at a time

    unit = await pool.unit(answer)
    await pool.dispatcher(unit)
    job = await gateway.submit()
    await gateway.begun(job)
    await gateway.leave()
    unit.release(job)
    await until(lambda: unit.aborted[job] == 1)
    assert await pool.outcome(job) == "cancelled"


async def test_a_silent_job_ends_at_the_unit_when_its_gateway_is_gone(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(hang)
    await pool.dispatcher(unit)
    jobs = [await gateway.submit(stream=False), await gateway.submit()]
    await until(lambda: unit.in_flight == 2)
    await gateway.leave()
    await until(lambda: sorted(unit.aborted) == jobs)
    for job in jobs:
        assert await pool.outcome(job) == "cancelled"


async def test_a_job_whose_deadline_passes_while_it_runs_expires(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(begin_then_hang)
    await pool.dispatcher(unit)
    # Time enough for a busy machine to have them run before they expire.
    streamed = await gateway.submit(timeout_s=3.0)
    await gateway.begun(streamed)
    unit.answer = hang
    whole = await gateway.submit(timeout_s=3.0, stream=False)
    got = await gateway.received(streamed)
    assert (got.end["outcome"], got.body) == ("expired", event("first"))
    await until(lambda: unit.aborted[streamed] == 1)
    assert (await gateway.received(whole)).end["outcome"] == "expired"
    await until(lambda: unit.aborted[whole] == 1)


async def _requeued_behind_its_back(pool: Pool, dispatcher: Dispatcher, job: str) -> None:
    lease = Lease(job, 1, "short")
    status = await pool.store.requeue(dispatcher.unit, lease, "gateway-1", "test", spared=True)
    assert status == "OK"


async def test_a_superseded_attempt_is_aborted_and_writes_nothing_more(
    pool: Pool, gateway: Gateway
) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        response = await call.stream(event("first"))
        await call.released()
        await response.write(event("late"))
        await call.hang()
        return response

    unit = await pool.unit(answer)
    dispatcher = await pool.dispatcher(unit, claim_poll_s=600.0, renew_s=0.5)
    job = await gateway.submit()
    await gateway.begun(job)
    await pool.store.register("other", {})
    await _requeued_behind_its_back(pool, dispatcher, job)
    (again,) = (await pool.store.claim("other")).jobs
    assert (again.id, again.attempt) == (job, 2)
    unit.release(job)
    await until(lambda: unit.aborted[job] == 1)
    await until(lambda: len(dispatcher.service._running) == 0)
    await gateway.read()
    assert gateway.seen(job).body == event("first")
    assert gateway.seen(job).kinds == ["head", "chunk"]
    assert await pool.held("other") == [job]


async def test_a_full_unit_whose_attempt_was_superseded_claims_what_waits(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(begin_then_hang)
    dispatcher = await pool.dispatcher(
        unit, claim_poll_s=600.0, renew_s=0.5, worker_concurrency_limit=1
    )
    job = await gateway.submit()
    await gateway.begun(job)
    unit.answer = at_once
    waiting = await gateway.submit()
    await _requeued_behind_its_back(pool, dispatcher, job)
    await until(lambda: unit.aborted[job] == 1)
    assert (await gateway.received(waiting)).end["outcome"] == "ok"


async def test_an_attempt_is_aborted_by_its_successor_on_the_same_unit(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(begin_then_hang)
    dispatcher = await pool.dispatcher(unit, renew_s=1.0)
    job = await gateway.submit()
    await gateway.begun(job)
    unit.answer = at_once
    await _requeued_behind_its_back(pool, dispatcher, job)
    dispatcher.service._claimer.wake()
    await until(lambda: unit.aborted[job] == 1)
    got = await gateway.received(job)
    assert {part.attempt for part in got.parts[2:]} == {2}
    assert b"".join(part.content for part in got.parts[3:-1]).endswith(DONE)
    assert got.end["outcome"] == "ok"


async def test_what_is_aborted_twice_ends_once(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(begin_then_hang)
    dispatcher = await pool.dispatcher(unit)
    job = await gateway.submit()
    await gateway.begun(job)
    dispatcher.service._running.cancel(job, 1)
    dispatcher.service._running.abort_all("gateway gone")
    assert (await gateway.received(job)).end["reason"] == "cancelled"
    assert (await pool.events(job))["cancelled"] == 1


async def test_a_cancel_of_an_older_attempt_leaves_the_newer_alone(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(when_released)
    dispatcher = await pool.dispatcher(unit)
    job = await gateway.submit()
    await until(lambda: unit.in_flight == 1)
    running: RunningJobs = dispatcher.service._running
    running.cancel(job, 0)
    running.abort(job, "superseded", 7)
    unit.release(job)
    assert (await gateway.received(job)).end["outcome"] == "ok"


async def test_the_jobs_of_a_dead_gateway_are_cancelled_wherever_they_are(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(begin_then_hang)
    dispatcher = await pool.dispatcher(unit, worker_concurrency_limit=1, renew_s=1.4)
    running = await gateway.submit()
    await gateway.begun(running)
    waiting = await gateway.submit_many(2)
    gateway.freeze()
    for job in (running, *waiting):
        assert await pool.outcome(job) == "cancelled"
        assert (await pool.job(job))["reason"] == "gateway gone"
    assert unit.jobs() == [running]
    await until(lambda: unit.in_flight == 0)
    await until(lambda: len(dispatcher.service._running) == 0)
    gone = pool.store.keys.reply(gateway.name)
    await until(lambda: _missing(pool, gone))


async def _missing(pool: Pool, key: str) -> bool:
    return not await pool.connection.command("EXISTS", key)
