"""Pipes: many callers on one connection, each with its own replies, whatever others do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import Redis

from common.clients import make_client
from common.pipe import Pipes
from tests.conftest import Server
from tests.lua.conftest import Until

LIMIT_S = 20.0


@asynccontextmanager
async def pipes_to(url: str, timeout_s: float = LIMIT_S) -> AsyncIterator[Pipes]:
    client: Redis = make_client(url, timeout_s)
    pipes = Pipes(client.connection_pool, timeout_s)
    try:
        yield pipes
    finally:
        pipes.close()
        await client.aclose()


@asynccontextmanager
async def played(answer: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """A server that shakes hands as Redis does, and then answers what a test says."""
    serving: list[asyncio.Task[Any] | None] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with suppress(ConnectionError):
            while words := await reader.read(65_536):
                handshake = words.count(b"CLIENT") + words.count(b"SELECT")
                writer.write(b"+OK\r\n" * handshake if handshake else answer(words))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"redis://127.0.0.1:{port}/0"
        server.close()
        await asyncio.gather(*[task for task in serving if task])


async def until_raised(error: type[Exception], call: Any) -> None:
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(error):
            await call


async def test_each_of_many_callers_gets_its_own_replies(valkey: Server) -> None:
    async with pipes_to(valkey.url) as pipes:

        async def ask(n: int) -> list[Any]:
            return await pipes.ask([("ECHO", f"{n}:{at}") for at in range(n % 4 + 1)])

        replies = await asyncio.gather(*map(ask, range(200)))
        for n, reply in enumerate(replies):
            assert reply == [f"{n}:{at}".encode() for at in range(n % 4 + 1)]
        # All of them asked at once, before there was a connection, and one was made.
        (listed,) = await pipes.ask([("CLIENT", "LIST")])
        assert listed.count(b"cmd=client|list") == 1


async def test_an_error_is_a_reply_among_others(valkey: Server) -> None:
    async with pipes_to(valkey.url) as pipes:
        first, error, last = await pipes.ask(
            [("ECHO", "a"), ("EVALSHA", "0" * 40, 0), ("ECHO", "b")]
        )
        assert (first, last) == (b"a", b"b")
        assert isinstance(error, exceptions.NoScriptError)


async def test_a_call_that_is_given_up_keeps_its_place(valkey: Server) -> None:
    async with pipes_to(valkey.url) as pipes:
        await pipes.ask([("PING",)])
        given_up = asyncio.create_task(pipes.ask([("ECHO", "given up")]))
        await asyncio.sleep(0)  # lets it ask, and no reply come
        waited_for = asyncio.create_task(pipes.ask([("ECHO", "waited for")]))
        await asyncio.sleep(0)  # as above
        given_up.cancel()
        assert await waited_for == [b"waited for"]
        assert given_up.cancelled()


async def test_a_connection_that_is_cut_fails_who_waits_and_the_next_call_makes_another(
    valkey: Server,
) -> None:
    async with pipes_to(valkey.url) as pipes:
        (number,) = await pipes.ask([("CLIENT", "ID")])
        async with pipes_to(valkey.url) as others:
            reading = asyncio.create_task(pipes.ask([("WAIT", 1, 20_000)]))
            await asyncio.sleep(0)  # lets it ask
            assert await others.ask([("CLIENT", "KILL", "ID", number)]) == [1]
        await until_raised(exceptions.ConnectionError, reading)
        assert await pipes.ask([("ECHO", "again")]) == [b"again"]


async def test_a_blocking_read_that_is_given_up_takes_nothing(valkey: Server, until: Until) -> None:
    key = "pipes:given-up"
    async with pipes_to(valkey.url) as pipes:
        reading = asyncio.create_task(pipes.block(("BLPOP", key, 5), LIMIT_S))

        async def blocked() -> bool:
            (told,) = await pipes.ask([("INFO", "clients")])
            return b"blocked_clients:0" not in told

        async def idle() -> bool:
            return not await blocked()

        await until(blocked)
        reading.cancel()
        await until(idle)
        assert await pipes.ask([("RPUSH", key, "x"), ("LPOP", key)]) == [1, b"x"]


async def test_blocking_reads_wait_beside_one_another(valkey: Server) -> None:
    async with pipes_to(valkey.url) as pipes:
        keys = [f"pipes:beside:{n}" for n in range(3)]
        reads = [asyncio.create_task(pipes.block(("BLPOP", key, 5), LIMIT_S)) for key in keys]
        for key in reversed(keys):
            await pipes.ask([("RPUSH", key, "x")])
        async with asyncio.timeout(LIMIT_S):
            assert await asyncio.gather(*reads) == [[key.encode(), b"x"] for key in keys]


async def test_a_server_that_says_nothing_is_given_up() -> None:
    replies = iter([b"+PONG\r\n", b"$4\r\nha"])
    async with (
        played(lambda _: next(replies)) as url,
        pipes_to(url, timeout_s=0.2) as pipes,
    ):
        assert await pipes.ask([("PING",)]) == [b"PONG"]
        await until_raised(exceptions.TimeoutError, pipes.ask([("ECHO", "half")]))


async def test_a_server_that_does_not_speak_redis_is_given_up() -> None:
    async with played(lambda _: b"HTTP/1.1 400 Bad Request\r\n") as url, pipes_to(url) as pipes:
        await until_raised(exceptions.InvalidResponse, pipes.ask([("PING",)]))


async def test_a_primary_that_was_made_a_replica_is_left() -> None:
    said = iter([b"-READONLY You can't write against a read only replica.\r\n", b"+OK\r\n"])
    async with played(lambda _: next(said)) as url, pipes_to(url) as pipes:
        (refusal,) = await pipes.ask([("SET", "a", 1)])
        assert isinstance(refusal, exceptions.ReadOnlyError)
        assert pipes._pipe
        assert pipes._pipe.closed
        assert await pipes.ask([("SET", "a", 1)]) == [b"OK"]


async def test_nobody_to_connect_to_is_told_to_all_who_ask(unused_port: int) -> None:
    async with pipes_to(f"redis://127.0.0.1:{unused_port}/0") as pipes:
        calls = [asyncio.create_task(pipes.ask([("PING",)])) for _ in range(3)]
        for call in calls:
            await until_raised(exceptions.ConnectionError, call)


async def test_one_who_gives_up_while_connecting_leaves_the_connection_to_the_others(
    valkey: Server,
) -> None:
    async with pipes_to(valkey.url) as pipes:
        first, second = (asyncio.create_task(pipes.ask([("ECHO", "x")])) for _ in range(2))
        await asyncio.sleep(0)  # lets both ask
        first.cancel()
        assert await second == [b"x"]


async def test_who_asks_on_a_connection_that_was_lost_meanwhile_is_told(valkey: Server) -> None:
    async with pipes_to(valkey.url) as pipes:
        await pipes.ask([("PING",)])
        pipe = pipes.ready
        assert pipe
        pipe.close()
        await until_raised(exceptions.ConnectionError, pipe.ask([("PING",)]))
