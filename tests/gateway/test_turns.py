"""Long bodies: read in small pieces, looked at one after the other, and counted all the while."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from gateway.reads import in_small_reads
from gateway.turns import Turns

WITHIN_S = 30.0


def test_who_comes_alone_does_not_wait() -> None:
    async def alone() -> None:
        turns = Turns()
        for step in (turns.__aenter__(), turns.__aexit__(None, None, None)):
            with pytest.raises(StopIteration):
                step.send(None)

    asyncio.run(alone())


async def test_after_a_turn_the_loop_is_others_for_six_times_as_long() -> None:
    turns = Turns()
    async with turns:
        begun_s = time.monotonic()
        time.sleep(0.02)  # noqa: ASYNC251  # what a long body takes
    took_s = time.monotonic() - begun_s
    async with asyncio.timeout(WITHIN_S), turns:
        assert time.monotonic() - begun_s >= 6.5 * took_s


async def test_who_gives_up_waiting_leaves_the_turn_to_the_next() -> None:
    turns = Turns()

    async def take() -> None:
        async with turns:
            pass

    async with asyncio.timeout(WITHIN_S):
        async with turns:
            waiting = [asyncio.create_task(take()) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
        await asyncio.gather(*waiting[1:])
    assert waiting[0].cancelled()


class Hears(asyncio.Protocol):
    """Keeps what it hears, and asks for a pause after each of the first pieces."""

    def __init__(self, heard: list["Hears"]) -> None:
        self.pieces: list[bytes] = []
        self.over = asyncio.Event()
        self.said: list[str] = []
        heard.append(self)

    def connection_made(self, _: asyncio.BaseTransport) -> None:
        self.said.append("made")

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def eof_received(self) -> bool | None:
        self.said.append("eof")
        return None

    def connection_lost(self, _: Exception | None) -> None:
        self.said.append("lost")
        self.over.set()


@asynccontextmanager
async def hearing() -> AsyncIterator[tuple[int, list[Hears]]]:
    heard: list[Hears] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(in_small_reads(lambda: Hears(heard)), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_connections_that_share_a_buffer_hear_each_their_own_in_small_pieces(run: object) -> None:
    async def said_by(port: int, text: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(text)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        texts = [bytes([letter]) * 700_000 for letter in b"abc"]
        async with asyncio.timeout(WITHIN_S), hearing() as (port, heard):
            await asyncio.gather(*(said_by(port, text) for text in texts))
            while len(heard) < len(texts):  # noqa: ASYNC110  # a server sets no event
                await asyncio.sleep(0.01)
            await asyncio.gather(*(each.over.wait() for each in heard))
        assert sorted(b"".join(each.pieces) for each in heard) == texts
        assert all(each.said == ["made", "eof", "lost"] for each in heard)
        assert max(len(piece) for each in heard for piece in each.pieces) <= 60 * 1024

    assert callable(run)
    run(main())
