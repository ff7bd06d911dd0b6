"""What a gateway gets of what a unit answers: the same bytes, in order, in few batches."""

import asyncio
import random

from aiohttp import web

from tests.dispatcher.conftest import Gateway, Pool, until
from tests.dispatcher.scripted import DONE, USAGE, Call, event, when_released


async def test_streamed_bytes_arrive_unchanged_between_one_head_and_one_end(
    pool: Pool, gateway: Gateway
) -> None:
    said = b"".join(event(f"été {n} " + "x" * (n % 700)) for n in range(1500)) + USAGE + DONE
    cuts = sorted(random.Random(7).sample(range(1, len(said)), 400))

    async def answer(call: Call) -> web.StreamResponse:
        pieces = zip([0, *cuts], [*cuts, len(said)], strict=True)
        return await call.stream(*(said[start:end] for start, end in pieces))

    unit = await pool.unit(answer)
    await pool.dispatcher(unit)
    job = await gateway.submit(body=b'{"prompt":"\xc3\xa9"}')
    got = await gateway.received(job)
    assert got.body == said
    assert (got.kinds[0], got.kinds[-1]) == ("head", "end")
    assert set(got.kinds[1:-1]) == {"chunk"}
    assert got.attempts == {1}
    assert unit.calls[0].body == b'{"prompt":"\xc3\xa9"}'
    assert unit.calls[0].request.path == "/v1/completions"


async def test_the_head_says_what_the_gateway_puts_in_headers(pool: Pool, gateway: Gateway) -> None:
    await pool.dispatcher(await pool.unit(), "unit-7")
    got = await gateway.received(await gateway.submit())
    assert got.head.keys() == {"status", "content_type", "unit", "queue_ms", "attempt"}
    assert (got.head["status"], got.head["unit"], got.head["attempt"]) == (200, "unit-7", 1)
    assert got.head["content_type"] == "text/event-stream; charset=utf-8"
    assert 0 <= got.head["queue_ms"] < 20_000


async def test_the_first_bytes_do_not_wait_for_the_rest(pool: Pool, gateway: Gateway) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        response = await call.stream(event("first"))
        await call.released()
        await response.write(DONE)
        return response

    unit = await pool.unit(answer)
    await pool.dispatcher(unit)
    job = await gateway.submit()
    begun = await gateway.begun(job)
    assert begun.kinds == ["head", "chunk"]
    unit.release(job)
    assert (await gateway.received(job)).body == event("first") + DONE


async def test_usage_is_reported_at_the_end_and_kept_with_the_job(
    pool: Pool, gateway: Gateway
) -> None:
    await pool.dispatcher(await pool.unit())
    job = await gateway.submit()
    end = (await gateway.received(job)).end
    assert end == {"outcome": "ok", "reason": "", "prompt_tokens": 12, "completion_tokens": 3}
    kept = await pool.job(job)
    assert (kept["prompt_tokens"], kept["completion_tokens"], kept["status"]) == ("12", "3", "200")


async def test_a_count_of_tokens_that_no_number_holds_is_none(pool: Pool, gateway: Gateway) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        count = b"9" * 5000
        return await call.stream(b'data: {"usage":{"prompt_tokens":' + count + b"}}\n\n", DONE)

    await pool.dispatcher(await pool.unit(answer))
    end = (await gateway.received(await gateway.submit())).end
    assert (end["outcome"], end["prompt_tokens"]) == ("ok", 0)


async def test_an_answer_that_is_not_streamed_comes_in_one_batch(
    pool: Pool, gateway: Gateway
) -> None:
    said = b'{"choices":[{"text":"' + b"y" * 200_000 + b'"}],"usage":{"prompt_tokens": 5}}'

    async def answer(_: Call) -> web.StreamResponse:
        return web.Response(body=said, content_type="application/json")

    await pool.dispatcher(await pool.unit(answer))
    job = await gateway.submit(stream=False)
    got = await gateway.received(job)
    assert got.kinds == ["head", "chunk", "end"]
    assert (got.body, got.end["outcome"], got.end["prompt_tokens"]) == (said, "ok", 5)
    assert sum(any(part.job == job for part in batch) for batch in gateway.batches) == 1


async def test_what_the_unit_says_against_a_request_is_passed_through(
    pool: Pool, gateway: Gateway
) -> None:
    refusal = b'{"error":{"message":"too long","type":"BadRequestError","code":400}}'

    async def answer(_: Call) -> web.StreamResponse:
        return web.Response(status=400, body=refusal, content_type="application/json")

    unit = await pool.unit(answer)
    dispatcher = await pool.dispatcher(unit)
    for stream in (True, False):
        job = await gateway.submit(stream=stream)
        got = await gateway.received(job)
        assert (got.head["status"], got.head["content_type"]) == (400, "application/json")
        assert (got.body, got.end["outcome"]) == (refusal, "ok")
    assert len(unit.calls) == 2
    assert dispatcher.metric("adasplit_unit_up") == 1


async def test_parts_of_eight_streams_travel_together_and_none_is_lost(
    pool: Pool, gateway: Gateway
) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        response = await call.stream(event("begin"))
        await call.released()
        for n in range(100):
            await response.write(event(f"{call.job} {n}"))
            await asyncio.sleep(0)  # lets the other streams write between two chunks
        await response.write(DONE)
        return response

    unit = await pool.unit(answer)
    dispatcher = await pool.dispatcher(unit, flush_interval_s=0.1)
    jobs = await gateway.submit_many(8)
    await until(lambda: unit.in_flight == 8)
    unit.release(*jobs)
    for job in jobs:
        said = [event("begin"), *(event(f"{job} {n}") for n in range(100)), DONE]
        assert (await gateway.received(job)).body == b"".join(said)
    batches = dispatcher.metric("adasplit_relayed_batches_total")
    assert batches < dispatcher.metric("adasplit_relayed_parts_total")
    assert batches < 200


async def test_a_short_stream_keeps_its_bytes_when_redis_forgot_one_script(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(when_released)
    await pool.dispatcher(unit)
    whole, streamed = await gateway.submit(stream=False), await gateway.submit()
    await until(lambda: unit.in_flight == 2)
    await pool.connection.command("SCRIPT", "FLUSH")
    unit.release(whole)
    await gateway.received(whole)
    unit.release(streamed)
    got = await gateway.received(streamed)
    assert got.body == event(streamed) + USAGE + DONE
    assert got.kinds[0] == "head"
