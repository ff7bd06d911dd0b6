"""The client against a real server: one outcome for whatever the server does."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from bench.client import (
    Asking,
    Client,
    ServerError,
    adasplit_headers,
    base_url,
    first_model,
    open_session,
)
from bench.openloop import RunClock, drive
from bench.prompts import IdMaker, PromptMaker, Ratio, measured_ratio
from bench.rows import Order, Row

Serve = Callable[[dict[str, Any]], Awaitable[str]]
Chat = Callable[[web.Request], Awaitable[web.StreamResponse]]
CHAT = "/v1/chat/completions"


def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return _line({"id": "a", "choices": [choice]})


def _line(found: object) -> bytes:
    return b"data: " + json.dumps(found, separators=(",", ":")).encode() + b"\n\n"


USAGE = _line({"id": "a", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}})
DONE = b"data: [DONE]\n\n"
WHOLE = (event(" one"), event(" two", "length"), USAGE, DONE)


def streaming(*chunks: bytes, headers: dict[str, str] | None = None, abort: bool = False) -> Chat:
    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if abort and request.transport:
            request.transport.abort()
        return response

    return answer


def order(url: str, index: int = 0, **changed: Any) -> Order:
    planned: dict[str, Any] = {
        "source": "test",
        "size_class": "short",
        "intended_s": 0.0,
        "prompt_tokens": 9,
        "output_tokens": 2,
    }
    return Order(index=index, url=url, **(planned | changed))


ASKING = Asking("m")
WORDS = PromptMaker(1).prompt


async def sent(
    url: str,
    asking: Asking = ASKING,
    *,
    timeout_s: float = 20,
    prompt: Any = WORDS,
    speed: float = 1.0,
    **changed: Any,
) -> Row:
    row = Row(order(url, **changed))
    async with open_session(timeout_s=timeout_s) as session:
        client = Client(session, asking, prompt=prompt, clock=RunClock(speed), speed=speed)
        await client.send(row)
    return row


async def test_a_whole_answer_is_measured_with_what_the_gateway_said(serve: Serve) -> None:
    headers = {"X-AdaSplit-Unit": "unit-1", "x-adasplit-queue-ms": "12", "x-other": "no"}
    row = await sent(await serve({CHAT: streaming(*WHOLE, headers=headers)}))
    assert row.outcome == "ok"
    assert (row.prompt_tokens, row.output_tokens, row.token_events) == (9, 2, 2)
    assert row.headers == {"unit": "unit-1", "queue-ms": "12"}
    assert row.sent_s is not None
    assert row.first_token_s is not None
    assert row.end_s is not None
    assert row.sent_s <= row.first_token_s <= row.end_s


async def test_events_cut_between_chunks_are_counted_once(serve: Serve) -> None:
    whole = b"".join(WHOLE)
    pieces = (whole[at : at + 5] for at in range(0, len(whole), 5))
    row = await sent(await serve({CHAT: streaming(*pieces)}))
    assert (row.outcome, row.token_events) == ("ok", 2)


async def test_the_request_asks_for_exactly_the_length_of_the_trace(serve: Serve) -> None:
    bodies = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return await streaming(*WHOLE)(request)

    await sent(await serve({CHAT: answer}), prompt_tokens=300_000)
    body = bodies[0]
    assert len(body["messages"][0]["content"].split(" ")) == 300_000
    assert (body["max_tokens"], body["ignore_eos"], body["stream"]) == (2, True, True)
    assert body["stream_options"] == {"include_usage": True}


async def test_a_prompt_of_token_ids_asks_for_a_completion(serve: Serve) -> None:
    bodies = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return await streaming(*WHOLE)(request)

    url = await serve({"/v1/completions": answer})
    row = await sent(url, prompt=IdMaker(1, 1000, 1010).prompt, prompt_tokens=500)
    assert row.ok
    assert len(bodies[0]["prompt"]) == 500
    assert set(bodies[0]["prompt"]) <= set(range(1000, 1010))
    assert "messages" not in bodies[0]


async def test_an_answer_may_end_early_when_the_length_was_not_forced(serve: Serve) -> None:
    url = await serve({CHAT: streaming(*WHOLE)})
    assert (await sent(url, output_tokens=9)).outcome == "wrong_token_count"
    assert (await sent(url, Asking("m", ignore_eos=False), output_tokens=9)).ok
    assert (await sent(url, Asking("m", ignore_eos=False), output_tokens=1)).outcome == (
        "wrong_token_count"
    )


async def test_the_class_is_said_only_when_asked(serve: Serve) -> None:
    said = []

    async def answer(request: web.Request) -> web.StreamResponse:
        said.append(request.headers.get("x-adasplit-class"))
        return await streaming(*WHOLE)(request)

    url = await serve({CHAT: answer})
    await sent(url, size_class="long")
    await sent(url, Asking("m", say_class=True), size_class="long")
    assert said == [None, "long"]


class Busy:
    """Refuses the first requests with a Retry-After, then answers."""

    def __init__(self, refusals: int, *, status: int = 429) -> None:
        self._left = refusals
        self._status = status
        self.asked = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self._left == 0:
            return await streaming(*WHOLE)(request)
        self._left -= 1
        error = {"error": {"code": "queue_full"}}
        return web.json_response(error, status=self._status, headers={"retry-after": "0"})


async def test_a_refused_request_is_sent_again_only_when_asked(serve: Serve) -> None:
    busy = Busy(2)
    url = await serve({CHAT: busy.answer})
    row = await sent(url, Asking("m", retries=2))
    assert (row.outcome, row.retries, busy.asked) == ("ok", 2, 3)
    once = await sent(await serve({CHAT: Busy(1).answer}))
    assert (once.outcome, once.retries, once.refused) == ("http_429:queue_full", 0, True)


async def test_retries_end_and_a_failure_is_no_refusal(serve: Serve) -> None:
    busy, broken = Busy(9), Busy(9, status=502)
    row = await sent(await serve({CHAT: busy.answer}), Asking("m", retries=1))
    assert (row.retries, busy.asked, row.refused) == (1, 2, True)
    row = await sent(await serve({CHAT: broken.answer}), Asking("m", retries=3))
    assert (row.retries, broken.asked, row.refused) == (0, 1, False)


async def test_times_are_scaled_back_from_a_faster_life(serve: Serve) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.05)
        return await streaming(*WHOLE, headers={"x-adasplit-queue-ms": "40"})(request)

    row = await sent(await serve({CHAT: slow}), speed=100)
    assert row.queue_s == 4.0
    assert row.ttft_s is not None
    assert row.ttft_s >= 5.0


async def test_a_tokenizer_is_measured_from_two_prompts(serve: Serve) -> None:
    async def answer(request: web.Request) -> web.Response:
        words = len((await request.json())["messages"][0]["content"].split())
        return web.json_response({"usage": {"prompt_tokens": words * 2 + 17}})

    async def silent(_request: web.Request) -> web.Response:
        return web.json_response({"error": {}})

    async with open_session(timeout_s=20) as session:
        ratio = await measured_ratio(session, await serve({CHAT: answer}), "m")
        assert ratio == Ratio(2.0, 17.0)
        assert ratio.words(2017) == 1000
        assert ratio.words(3) == 1
        assert await measured_ratio(session, await serve({CHAT: silent}), "m") is None


@pytest.mark.parametrize(
    ("chunks", "outcome"),
    [
        (WHOLE[:-1], "no_done"),
        (WHOLE[:1], "no_finish_reason"),
        ((*WHOLE[:1], _line({"error": {"code": "unit_failed"}})), "error_event:unit_failed"),
        ((), "no_finish_reason"),
    ],
)
async def test_a_stream_that_is_not_whole_has_a_named_outcome(
    serve: Serve, chunks: tuple[bytes, ...], outcome: str
) -> None:
    row = await sent(await serve({CHAT: streaming(*chunks)}))
    assert row.outcome == outcome


async def test_an_http_error_is_named_by_status_and_code(serve: Serve) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.json_response({"error": {"code": "queue_full"}}, status=429)

    async def fail(_request: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>")

    assert (await sent(await serve({CHAT: refuse}))).outcome == "http_429:queue_full"
    assert (await sent(await serve({CHAT: fail}))).outcome == "http_502:not_json"


async def test_a_connection_cut_within_the_answer_is_a_disconnect(serve: Serve) -> None:
    row = await sent(await serve({CHAT: streaming(*WHOLE[:1], abort=True)}))
    assert row.outcome == "disconnected"
    assert row.output_tokens is None


async def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        row = await sent(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert row.outcome == "connect_failed"


async def test_an_answer_that_never_comes_times_out(serve: Serve) -> None:
    async def hang(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    row = await sent(await serve({CHAT: hang}), timeout_s=0.3)
    assert row.outcome == "timeout"


async def test_times_count_from_the_intended_send(serve: Serve) -> None:
    row = await sent(await serve({CHAT: streaming(*WHOLE)}), intended_s=-5.0)
    assert row.ttft_s is not None
    assert row.lag_s is not None
    assert row.ttft_s > 5
    assert row.lag_s > 5


class Meeting:
    """A server that answers none before `size` requests are open at once."""

    def __init__(self, size: int) -> None:
        self.open = 0
        self.most = 0
        self._size = size
        self._complete = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.open += 1
        self.most = max(self.most, self.open)
        if self.open >= self._size:
            self._complete.set()
        await self._complete.wait()
        response = await streaming(*WHOLE)(request)
        self.open -= 1
        return response


async def driven(rows: list[Row], stop: asyncio.Event, limit: int | None = None) -> None:
    async with open_session(timeout_s=20) as session:
        clock = RunClock()
        client = Client(session, ASKING, prompt=WORDS, clock=clock)
        await drive(rows, client.send, clock=clock, stop=stop, limit=limit)


async def test_requests_leave_without_waiting_for_earlier_answers(serve: Serve) -> None:
    meeting = Meeting(5)
    url = await serve({CHAT: meeting.answer})
    rows = [Row(order(url, index, intended_s=index / 100)) for index in range(5)]
    await driven(rows, asyncio.Event())
    assert [row.outcome for row in rows] == ["ok"] * 5
    assert all(row.lag_s is not None and row.lag_s >= 0 for row in rows)


async def test_a_limit_on_open_requests_shows_as_lag(serve: Serve) -> None:
    meeting = Meeting(1)
    url = await serve({CHAT: meeting.answer})
    rows = [Row(order(url, index)) for index in range(6)]
    await driven(rows, asyncio.Event(), limit=1)
    assert meeting.most == 1
    sent_s = [row.sent_s or 0 for row in rows]
    assert sent_s == sorted(sent_s)
    assert all(row.ok for row in rows)


async def test_a_stopped_run_leaves_every_request_with_an_outcome(serve: Serve) -> None:
    stop = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        stop.set()
        await asyncio.Event().wait()
        raise AssertionError

    url = await serve({CHAT: hang})
    rows = [Row(order(url)), Row(order(url, 1, intended_s=3600.0))]
    async with asyncio.timeout(20):
        await driven(rows, stop)
    assert [row.outcome for row in rows] == ["cancelled", "not_sent"]


async def test_the_first_model_is_asked_for(serve: Serve) -> None:
    async def models(_request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m1", "max_model_len": 100}, {"id": "m2"}]})

    url = await serve({"/v1/models": models})
    async with open_session(timeout_s=20) as session:
        assert (await first_model(session, url))["id"] == "m1"


async def test_a_server_without_models_is_one_clear_error(serve: Serve) -> None:
    async def nothing(_request: web.Request) -> web.Response:
        return web.json_response({"data": []})

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async with open_session(timeout_s=20) as session:
        with pytest.raises(ServerError, match="offers no model"):
            await first_model(session, await serve({"/v1/models": nothing}))
        with pytest.raises(ServerError, match="does not list its models"):
            await first_model(session, await serve({"/v1/models": page}))


def test_base_urls_lose_what_the_paths_bring() -> None:
    assert base_url("http://127.0.0.1:8000/v1/") == "http://127.0.0.1:8000"
    assert base_url("https://unit/") == "https://unit"
    with pytest.raises(ValueError, match="not an http"):
        base_url("127.0.0.1:8000")


def test_only_headers_of_the_gateway_are_kept() -> None:
    assert adasplit_headers({"X-AdaSplit-Queue-Ms": "3", "date": "x"}) == {"queue-ms": "3"}
