"""The client against a real server: one outcome for whatever the server does."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from bench.client import (
    Client,
    Order,
    Row,
    ServerError,
    adasplit_headers,
    base_url,
    first_model,
    open_session,
)
from bench.openloop import RunClock, drive
from bench.prompts import PromptMaker

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


async def sent(url: str, *, timeout_s: float = 20, **changed: Any) -> Row:
    row = Row(order(url, **changed))
    async with open_session(timeout_s=timeout_s) as session:
        client = Client(session, model="m", prompt=PromptMaker(1).prompt, clock=RunClock())
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
        client = Client(session, model="m", prompt=PromptMaker(1).prompt, clock=clock)
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
