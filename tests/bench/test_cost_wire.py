"""The cheap unit answers as a unit does, and the cheap client takes nothing that is not right."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import pytest

from bench.client import ServerError
from bench.cost.unit import Engine, Exchanges
from bench.cost.wire import Requests, Target, lines
from tests.conftest import free_ports

Serve = Callable[[bytes], Awaitable[Target]]


@pytest.fixture
async def unit() -> AsyncIterator[Target]:
    engine = Engine(tokens_per_s=200)
    (port,) = free_ports(1)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Exchanges(engine), "127.0.0.1", port)
    yield Target("unit", (f"http://127.0.0.1:{port}",))
    server.close()
    await server.wait_closed()


@pytest.fixture
async def says() -> AsyncIterator[Serve]:
    """A server that answers every request with these bytes, and closes."""
    servers: list[asyncio.Server] = []

    async def start(answer: bytes) -> Target:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"}")
            writer.write(answer)
            writer.close()
            await writer.wait_closed()

        servers.append(await asyncio.start_server(connected, "127.0.0.1", 0))
        port = servers[-1].sockets[0].getsockname()[1]
        return Target("router", (f"http://127.0.0.1:{port}",))

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_whole_answers_and_streams_have_the_tokens_asked_for(unit: Target) -> None:
    whole, streamed, heard = Requests(unit, 8), Requests(unit, 20), list[int]()
    async with lines(unit, 2) as (one, other):
        for _ in range(3):
            answer = await whole.whole(one)
            came_us, left_us = map(int, answer.at_unit.split())
            sent_us = answer.sent_s * 1e6
            assert sent_us - 1 <= came_us <= left_us <= sent_us + answer.took_s * 1e6 + 1
        await asyncio.gather(
            streamed.stream(one, heard.append), streamed.stream(other, lambda _: None)
        )
        await Requests(unit, 1).whole(other)
        await Requests(unit, 1).stream(other, heard.append)
    assert sum(heard) == 19


async def test_a_connection_that_the_server_closes_after_an_answer_is_opened_again(
    says: Serve,
) -> None:
    closing = answer("00000001", 2).replace(b"OK\r\n", b"OK\r\nconnection: close\r\n")
    target = await says(closing)
    async with lines(target, 1) as (line,):
        for _ in range(3):
            await Requests(target, 2).whole(line)


async def test_a_stream_whose_client_leaves_stops_no_other(unit: Target) -> None:
    requests, began = Requests(unit, 50), asyncio.Event()
    async with lines(unit, 1) as (stays,):
        async with lines(unit, 1) as (leaves,):
            left = asyncio.create_task(requests.stream(leaves, lambda _: began.set()))
            stayed = asyncio.create_task(requests.stream(stays, lambda _: None))
            await began.wait()
        with pytest.raises(ServerError, match="closed the connection within an answer"):
            await left
        await stayed


async def test_pages_that_dispatchers_and_routers_probe_are_there(unit: Target) -> None:
    host, port = unit.urls[0].removeprefix("http://").split(":")
    for path, status in (("/health", 200), ("/v1/models", 200), ("/metrics", 200), ("/no", 404)):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        assert f" {status} " in (await reader.readline()).decode()
        await reader.read()  # HTTP/1.0 keeps no connection: this ends
        writer.close()
        await writer.wait_closed()


def answer(word: str, tokens: int) -> bytes:
    message = {"content": f"{word} token"}
    body = {"choices": [{"message": message}], "usage": {"completion_tokens": tokens}}
    text = orjson.dumps(body)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (answer("00000001", 2), ""),
        (answer("00000002", 2), "mixed_answers"),
        (answer("00000001", 3), "wrong_token_count"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "unexpected_shape"),
        (b"HTTP/1.1 429 Too Many\r\ncontent-length: 4\r\n\r\nfull", "answered 429: full"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", "closed the connection within"),
        (b"SMTP\r\n\r\n", "did not answer in HTTP"),
    ],
)
async def test_an_answer_that_is_not_the_one_asked_for_is_named(
    says: Serve, said: bytes, found: str
) -> None:
    target = await says(said)
    async with lines(target, 1) as (line,):
        if not found:
            await Requests(target, 2).whole(line)
            return
        with pytest.raises(ServerError, match=f"^router .*{found}"):
            await Requests(target, 2).whole(line)


async def test_a_stream_that_breaks_off_is_named(says: Serve) -> None:
    event = b'data: {"id": "1", "choices": [{"delta": {"content": " token"}}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
    target = await says(head % len(event) + event)
    async with lines(target, 1) as (line,):
        with pytest.raises(ServerError, match="router did not answer as asked: no_finish_reason"):
            await Requests(target, 2).stream(line, lambda _: None)
