"""In which pieces an answer leaves, on a connection that keeps what it is given."""

import asyncio
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from gateway.protocol import CHUNKS, BoundedProtocol, WireBounds

BOUNDS = WireBounds(
    max_connections=10,
    max_head_bytes=10_000,
    head_timeout_s=60,
    body_timeout_s=60,
    stall_s=60,
    refused=lambda _: None,
)


class Kept(asyncio.Transport):
    """Keeps each write on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)


async def answered(app: ASGIApp, method: str = "POST") -> tuple[list[bytes], Kept]:
    """What one request to an application had written."""
    config = uvicorn.Config(cast("Any", app), lifespan="off", server_header=False, log_config=None)
    state, transport = ServerState(), Kept()
    protocol = BoundedProtocol(BOUNDS, config=config, server_state=state, app_state={})
    protocol.connection_made(transport)
    protocol.data_received(f"{method} / HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    async with asyncio.timeout(30):
        await asyncio.gather(*state.tasks)
    protocol.connection_lost(None)
    return transport.writes, transport


async def begin(send: Send, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})


async def test_an_answer_of_known_length_leaves_as_one() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send, (b"content-length", b"5"))
        await send({"type": "http.response.body", "body": b"hello"})

    writes, _ = await answered(app)
    assert writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"]


@pytest.mark.parametrize("method", ["POST", "HEAD"])
async def test_a_head_without_a_body_does_not_wait_for_one(method: str) -> None:
    length = b"5" if method == "HEAD" else b"0"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send, (b"content-length", length))
        await send({"type": "http.response.body", "body": b""})

    writes, _ = await answered(app, method)
    assert b"".join(writes) == b"HTTP/1.1 200 OK\r\ncontent-length: %b\r\n\r\n" % length


async def test_a_streams_head_and_chunks_leave_as_they_come() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        assert scope[CHUNKS](b"two")
        await send({"type": "http.response.body", "body": b""})

    writes, _ = await answered(app)
    head, *chunks = writes
    assert head == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert chunks == [b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"]


async def test_a_chunk_is_refused_while_the_client_does_not_read() -> None:
    refused: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        cycle = cast("Any", send).__self__
        cycle.flow.pause_writing()
        refused.append(not scope[CHUNKS](b"two"))
        cycle.flow.resume_writing()
        await send({"type": "http.response.body", "body": b""})

    writes, _ = await answered(app)
    assert refused == [True]
    assert writes[1:] == [b"0\r\n\r\n"]


async def test_a_chunk_is_refused_once_the_connection_closes() -> None:
    refused: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send)
        cast("Any", send).__self__.transport.close()
        refused.append(not scope[CHUNKS](b"two"))

    writes, _ = await answered(app)
    assert (refused, len(writes)) == ([True], 1)


async def test_an_answer_that_breaks_off_behind_its_head_shows_the_head(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await begin(send, (b"content-length", b"5"))

    writes, transport = await answered(app)
    assert (writes, transport.closed) == ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"], True)
    assert "without completing response" in caplog.text
