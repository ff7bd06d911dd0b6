"""Each way in which a unit fails a call, and what becomes of the job."""

import pytest
from aiohttp import web

from tests.dispatcher.conftest import Dispatcher, Gateway, Pool, until
from tests.dispatcher.scripted import (
    DONE,
    USAGE,
    Answer,
    Call,
    ScriptedUnit,
    at_once,
    begin_then_hang,
    event,
    hang,
)

# After a fault a dispatcher of these settings leaves its unit alone until the test is over.
NO_SECOND_PROBE = {"probe_s": 600.0}


async def too_many(_: Call) -> web.StreamResponse:
    return web.Response(status=429, headers={"retry-after": "1"})


async def broken(_: Call) -> web.StreamResponse:
    return web.Response(status=500, text="CUDA error")


async def drops(call: Call) -> web.StreamResponse:
    call.drop()
    return web.Response()


async def not_http(call: Call) -> web.StreamResponse:
    assert call.request.transport
    call.request.transport.write(b"220 smtp.example ESMTP ready\r\n\r\n")
    await call.hang()
    return web.Response()


async def nothing(call: Call) -> web.StreamResponse:
    return await call.stream()


async def half_a_whole_answer(call: Call) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-length": "100"})
    await response.prepare(call.request)
    await response.write(b'{"choices":')
    call.drop()
    return response


async def failing_unit(pool: Pool, answer: Answer, **changes: float) -> ScriptedUnit:
    """A unit that fails its first call; its dispatcher runs and claims alone."""
    unit = await pool.unit(answer)
    await pool.dispatcher(unit, "a", **(NO_SECOND_PROBE | changes))
    return unit


async def answered_by_another(pool: Pool, job: str) -> None:
    await pool.dispatcher(await pool.unit(at_once), "b")
    got = await pool.gateway.received(job)
    assert (got.head["unit"], got.head["attempt"]) == ("b", 2)
    assert (got.body, got.attempts) == (event(job) + USAGE + DONE, {2})
    assert got.end["outcome"] == "ok"
    assert (await pool.events(job))["requeued"] == 1


@pytest.mark.parametrize(
    ("answer", "stream"),
    [
        (broken, True),
        (broken, False),
        (too_many, True),
        (too_many, False),
        (drops, True),
        (drops, False),
        (not_http, True),
        (nothing, True),
        (half_a_whole_answer, False),
    ],
)
async def test_a_job_that_fails_before_its_first_byte_is_run_by_another_unit(
    pool: Pool, gateway: Gateway, *, answer: Answer, stream: bool
) -> None:
    await failing_unit(pool, answer)
    job = await gateway.submit(stream=stream)
    await until(lambda: requeued(pool, job))
    await answered_by_another(pool, job)


async def requeued(pool: Pool, job: str) -> bool:
    return (await pool.job(job))["state"] == "queued" and "reason" in await pool.job(job)


async def test_a_unit_that_refuses_connections_costs_one_attempt(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await failing_unit(pool, at_once)
    await unit.stop()
    job = await gateway.submit()
    await until(lambda: requeued(pool, job))
    await answered_by_another(pool, job)


async def test_a_unit_that_hangs_before_its_first_byte_is_given_up(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await failing_unit(pool, hang, first_byte_timeout_s=1.0)
    job = await gateway.submit()
    await until(lambda: unit.aborted[job] == 1)
    await until(lambda: requeued(pool, job))
    assert (await pool.job(job))["reason"] == "no byte for 1.0 s"
    await answered_by_another(pool, job)


async def test_headers_alone_are_no_first_byte(pool: Pool, gateway: Gateway) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        response = await call.stream()
        await call.hang()
        return response

    unit = await failing_unit(pool, answer, first_byte_timeout_s=1.0)
    job = await gateway.submit()
    await until(lambda: unit.aborted[job] == 1)
    await until(lambda: requeued(pool, job))
    await answered_by_another(pool, job)


async def test_a_stream_that_falls_silent_fails(pool: Pool, gateway: Gateway) -> None:
    # The limit between chunks holds from the first on, however long the first might have taken.
    unit = await failing_unit(
        pool, begin_then_hang, between_chunk_timeout_s=0.2, first_byte_timeout_s=600.0
    )
    job = await gateway.submit()
    got = await gateway.received(job)
    assert (got.end["outcome"], got.end["reason"]) == ("failed", "no byte for 0.2 s")
    assert got.body == event("first")
    await until(lambda: unit.aborted[job] == 1)


async def test_a_job_that_fails_three_times_is_dead(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(broken)
    dispatcher = await pool.dispatcher(unit, unit_backoff_longest_s=0.1)
    job = await gateway.submit()
    got = await gateway.received(job)
    assert (got.kinds, got.end["outcome"]) == (["end"], "dead")
    assert got.end["reason"] == "the unit said 500"
    assert len(unit.calls) == 3
    assert await pool.outcome(job) == "dead"
    ((_, fields),) = await pool.connection.command("XRANGE", pool.store.keys.dead, "-", "+")
    assert fields[b"job"] == job.encode()
    assert dispatcher.metric("adasplit_unit_faults_total", fault="status") == 3


async def lost_in_the_middle(call: Call) -> web.StreamResponse:
    response = await call.stream(event("one"), event("two"))
    await call.released()
    call.drop()
    return response


async def ends_without_done(call: Call) -> web.StreamResponse:
    return await call.stream(event("one"), event("two"))


@pytest.mark.parametrize("answer", [lost_in_the_middle, ends_without_done])
async def test_a_stream_that_loses_its_unit_fails_with_the_bytes_it_had(
    pool: Pool, gateway: Gateway, answer: Answer
) -> None:
    unit = await failing_unit(pool, answer)
    job = await gateway.submit()
    await gateway.begun(job)
    unit.release(job)
    got = await gateway.received(job)
    assert (got.end["outcome"], got.attempts) == ("failed", {1})
    assert got.end["reason"]
    assert (event("one") + event("two")).startswith(got.body)
    assert await pool.outcome(job) == "failed"
    assert len(unit.calls) == 1


def error_event(code: int, message: str = "EngineCore died.") -> bytes:
    """As a vLLM server writes it when its engine dies (500; older ones 400), or refuses late."""
    error = f'{{"message": "{message}", "type": "X", "param": null, "code": {code}}}'
    return f'data: {{"error": {error}}}\n\n'.encode()


@pytest.mark.parametrize("code", [500, 400])
async def test_a_stream_in_which_the_engine_dies_fails_with_the_bytes_before_that(
    pool: Pool, gateway: Gateway, code: int
) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        return await call.stream(event("one"), event("two") + error_event(code) + DONE)

    unit = await pool.unit(answer)
    dispatcher = await pool.dispatcher(unit, **NO_SECOND_PROBE)
    job = await gateway.submit()
    got = await gateway.received(job)
    # Neither the unit's own error nor its [DONE]: the gateway tells the client, as of any fault.
    assert got.body == event("one") + event("two")
    assert got.end["outcome"] == "failed"
    assert got.end["reason"] == "the engine failed: EngineCore died."
    assert await pool.outcome(job) == "failed"
    assert dispatcher.metric("adasplit_unit_faults_total", fault="engine") == 1
    assert dispatcher.metric("adasplit_unit_up") == 0


async def test_an_error_event_that_is_cut_in_two_is_seen_as_well(
    pool: Pool, gateway: Gateway
) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        whole = error_event(500) + DONE
        response = await call.stream(event("one") + whole[:9])
        await call.released()
        await response.write(whole[9:])
        return response

    unit = await failing_unit(pool, answer)
    job = await gateway.submit()
    await gateway.begun(job)
    unit.release(job)
    got = await gateway.received(job)
    assert got.end["outcome"] == "failed"
    assert got.body == event("one") + error_event(500)[:9]


async def test_an_engine_that_dies_before_it_said_anything_costs_one_attempt(
    pool: Pool, gateway: Gateway
) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        return await call.stream(error_event(500) + DONE)

    await failing_unit(pool, answer)
    job = await gateway.submit()
    await until(lambda: requeued(pool, job))
    await answered_by_another(pool, job)


@pytest.mark.parametrize(
    "said",
    [error_event(400, "This model has no logits."), event(r"data: {\"error\": {\"code\": 500}}")],
    ids=["an error of the request", "a text that quotes one"],
)
async def test_what_is_no_failure_of_the_engine_is_passed_on_as_it_is(
    pool: Pool, gateway: Gateway, said: bytes
) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        return await call.stream(event("one"), said, USAGE, DONE)

    await failing_unit(pool, answer)
    got = await gateway.received(await gateway.submit())
    assert (got.end["outcome"], got.body) == ("ok", event("one") + said + USAGE + DONE)


async def test_the_attempts_of_a_bad_unit_do_not_leak_slots(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(broken)
    dispatcher: Dispatcher = await pool.dispatcher(unit, max_attempts=1, unit_backoff_longest_s=0.1)
    jobs = await gateway.submit_many(20)
    for job in jobs:
        assert (await gateway.received(job)).end["outcome"] == "dead"
    assert await pool.active(dispatcher.unit) in ({"short": 0}, {})
    assert len(unit.calls) == 20


async def test_a_unit_that_restarts_between_two_jobs_costs_none(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await failing_unit(pool, at_once)
    await gateway.received(await gateway.submit())
    await unit.stop()
    await unit.start()
    got = await gateway.received(await gateway.submit())
    assert (got.end["outcome"], got.attempts) == ("ok", {1})
