"""What a client receives of a unit's answer."""

import json
from typing import Any

import openai
import pytest

from common.models import Lease

EVENTS = [b'data: {"a": 1}\n\n', b'data: {"b": "\xc3\xa4"}\n\n', b"data: [DONE]\n\n"]


def error_event(received: bytes) -> dict[str, Any]:
    """The error that a stream ends with."""
    last = received.rstrip(b"\n").rpartition(b"\n\n")[2]
    error: dict[str, Any] = json.loads(last.removeprefix(b"data: "))["error"]
    return error


async def test_an_answer_that_is_not_streamed_arrives_unchanged_with_its_headers(
    bench: Any,
) -> None:
    body = b'{ "id":"x",  "choices": [] }\n'
    asked = bench.post()
    job = await bench.unit.claim()
    await bench.unit.answer(job, body)
    response = await asked
    assert response.status_code == 200
    assert response.content == body
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-length"] == str(len(body))
    assert response.headers["x-adasplit-job"] == job.id
    assert response.headers["x-adasplit-class"] == "short"
    assert response.headers["x-adasplit-unit"] == "unit-1"
    assert response.headers["x-adasplit-queue-ms"] == str(job.queue_ms)
    assert response.headers["x-adasplit-attempt"] == "1"
    await bench.no_leaks()


async def test_a_streamed_answer_arrives_as_it_comes_and_unchanged(bench: Any) -> None:
    asked = bench.stream()
    job = await bench.unit.claim()
    assert job.stream is True
    await bench.unit.open_stream(job, EVENTS[0])
    response = await asked
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["x-adasplit-job"] == job.id
    received = response.aiter_raw()
    assert await anext(received) == EVENTS[0]
    await bench.unit.relay(job, chunk=EVENTS[1][:7])
    assert await anext(received) == EVENTS[1][:7]
    await bench.unit.finish(job, chunk=EVENTS[1][7:] + EVENTS[2])
    rest = b"".join([part async for part in received])
    assert rest == EVENTS[1][7:] + EVENTS[2]
    await bench.no_leaks()


async def test_the_unit_gets_the_bytes_that_the_client_sent(bench: Any) -> None:
    body = b'{"model":"m" ,"messages":[{"role":"user","content":"\xc3\xa4"}], "unknown": {"x":1}}'
    asked = bench.post(body)
    job = await bench.unit.claim()
    assert job.body == body
    assert job.route == "/v1/chat/completions"
    assert job.stream is False
    await bench.unit.answer(job, b"{}")
    assert (await asked).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_by_the_unit_passes_through(bench: Any, stream: bool) -> None:  # noqa: FBT001  # a parameter of the test
    body = b'{"error": {"message": "too long"}}'
    asked = bench.post({"model": "m", "prompt": "x", "stream": stream}, path="/v1/completions")
    job = await bench.unit.claim()
    assert job.route == "/v1/completions"
    await bench.unit.answer(job, body, status=400, content_type="application/problem+json")
    response = await asked
    assert response.status_code == 400
    assert response.content == body
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("outcome", ["failed", "dead"])
async def test_a_unit_that_failed_before_its_first_byte_is_a_502(bench: Any, outcome: Any) -> None:
    asked = bench.post()
    job = await bench.unit.claim()
    await bench.unit.finish(job, outcome, reason="connection refused")
    response = await asked
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "unit_failed"
    assert "connection refused" in response.json()["error"]["message"]
    assert response.headers["x-adasplit-job"] == job.id
    await bench.no_leaks()


async def test_a_job_that_expired_is_a_504(bench: Any) -> None:
    asked = bench.post()
    job = await bench.unit.claim()
    await bench.unit.finish(job, "expired")
    response = await asked
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize("first", [EVENTS[0], EVENTS[0] + b'data: {"cut'])
async def test_a_unit_lost_after_its_first_byte_ends_the_stream_with_an_error_event(
    bench: Any, first: bytes
) -> None:
    asked = bench.stream()
    job = await bench.unit.claim()
    await bench.unit.open_stream(job, first)
    response = await asked
    await bench.unit.finish(job, "failed", reason="unit lost")
    received = b"".join([part async for part in response.aiter_raw()])
    assert received.startswith(first)
    assert error_event(received)["code"] == "unit_failed"
    assert b"[DONE]" not in received
    await bench.no_leaks()


async def test_a_stream_that_failed_before_anything_was_sent_is_a_plain_502(bench: Any) -> None:
    asked = bench.stream()
    job = await bench.unit.claim()
    head = bench.unit.head(job, 200, "text/event-stream")
    await bench.unit.finish(job, "failed", reason="lost", head=head, chunk=EVENTS[0])
    response = await asked
    assert response.status_code == 502
    await response.aclose()


async def test_a_second_attempt_answers_when_the_first_sent_nothing(bench: Any) -> None:
    asked = bench.stream()
    first = await bench.unit.claim()
    await bench.unit.store.requeue("unit-1", lease(first), first.gateway, "no connection")
    second = await bench.unit.claim()
    assert second.attempt == 2
    await bench.unit.open_stream(second, EVENTS[0])
    response = await asked
    assert response.headers["x-adasplit-attempt"] == "2"
    await bench.unit.finish(second, chunk=EVENTS[2])
    assert await response.aread() == EVENTS[0] + EVENTS[2]


async def test_a_second_attempt_never_continues_what_the_first_began(bench: Any) -> None:
    asked = bench.stream()
    first = await bench.unit.claim()
    await bench.unit.open_stream(first, EVENTS[0])
    response = await asked
    await bench.unit.store.requeue("unit-1", lease(first), first.gateway, "lease lapsed")
    second = await bench.unit.claim()
    await bench.unit.open_stream(second, EVENTS[1])
    received = await response.aread()
    assert received.startswith(EVENTS[0])
    assert EVENTS[1] not in received
    assert error_event(received)["code"] == "unit_failed"
    assert await bench.cancel_wake() == (second.id, 2)
    await bench.unit.finish(second, "cancelled")
    await bench.no_leaks()


async def test_the_official_client_reads_both_kinds_of_answer(bench: Any) -> None:
    message = {"role": "assistant", "content": "hi"}
    whole = {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }  # fmt: skip
    asked = bench.background(ask_whole(bench.url))
    await bench.unit.answer(await bench.unit.claim(), json.dumps(whole).encode())
    assert await asked == "hi"
    asked = bench.background(ask_stream(bench.url))
    job = await bench.unit.claim()
    await bench.unit.open_stream(job)
    for text in ("he", "llo"):
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        event = b"data: " + json.dumps(chunk | {"choices": [choice]}).encode() + b"\n\n"
        await bench.unit.relay(job, chunk=event)
    await bench.unit.finish(job, chunk=b"data: [DONE]\n\n")
    assert await asked == "hello"


async def test_the_official_client_raises_when_a_stream_breaks(bench: Any) -> None:
    asked = bench.background(ask_stream(bench.url))
    job = await bench.unit.claim()
    await bench.unit.open_stream(job, b": first\n\n")
    await bench.seen(lambda: not bench.unopened)
    await bench.unit.finish(job, "failed", reason="unit lost")
    with pytest.raises(openai.APIError, match="unit lost"):
        await asked


def lease(job: Any) -> Lease:
    return Lease(job.id, job.attempt, job.job_class)


async def ask_whole(url: str) -> str | None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        answer = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}]
        )
        return answer.choices[0].message.content


async def ask_stream(url: str) -> str:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        chunks = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
