"""The wire to a unit, byte by byte: a server that writes what a test says, as it says it."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dispatcher.wire import UnitFault, Wires
from tests.dispatcher.conftest import LIMIT_S, until

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Heard:
    """A receiver that remembers."""

    status: int = 0
    content_type: str = ""
    chunks: list[bytes] = field(default_factory=list)
    fault: Exception | None = None

    def head(self, status: int, content_type: str) -> None:
        self.status, self.content_type = status, content_type

    def body(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        if self.fault:
            raise self.fault

    @property
    def said(self) -> tuple[int, bytes]:
        return self.status, b"".join(self.chunks)


@dataclass
class Server:
    """`connections` were made; `closed` holds an event for each, set when the client hung up."""

    port: int = 0
    connections: int = 0
    closed: list[asyncio.Event] = field(default_factory=list)


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    found = Server()
    tasks: list[asyncio.Task[Any] | None] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        found.connections += 1
        gone = asyncio.Event()
        found.closed.append(gone)
        try:
            await serve(reader, writer)
            await reader.read()
        except ConnectionError:
            pass
        finally:
            gone.set()
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found
        server.close()
        for task in tasks:
            if task:
                # A test may be over before its connection is.
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


def says(*writes: bytes, then_close: bool = False, calls: int = 1) -> Serve:
    """Answers each of so many requests with these bytes, each in a write of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(calls):
            await reader.readuntil(b"\r\n\r\n")
            for each in writes:
                writer.write(each)
                await writer.drain()
                await asyncio.sleep(0)  # lets the client read what was written so far
        if then_close:
            writer.close()

    return serve


def wires_to(server: Server, tls: ssl.SSLContext | None = None) -> Wires:
    return Wires("127.0.0.1" if tls is None else "localhost", server.port, tls, LIMIT_S)


async def ask(wires: Wires, heard: Heard | None = None) -> Heard:
    heard = heard or Heard()
    wire = wires.idle() or await wires.connect()
    async with asyncio.timeout(LIMIT_S):
        await wire.send((b"POST / HTTP/1.1\r\n\r\n", b""), heard)
    return heard


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\none\r\n5;x=y\r\n, two\r\n0\r\ntrailer: x\r\n\r\n"
)
UNTIL_THE_END = b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nall of it"


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("answer", "kind", "body"),
    [
        (WHOLE, "application/json", b"{}"),
        (CHUNKED, "text/event-stream", b"one, two"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE, "application/json", b"{}"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "application/json", b""),
    ],
    ids=["a length", "chunks", "an interim answer", "no body"],
)
async def test_an_answer_is_the_same_however_it_is_cut(
    answer: bytes, kind: str, body: bytes, size: int
) -> None:
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    async with serving(says(*pieces, calls=2)) as server:
        wires = wires_to(server)
        for _ in range(2):
            heard = await ask(wires)
            assert (*heard.said, heard.content_type) == (200, body, kind)
        assert server.connections == 1
        wires.close()


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    async with serving(says(UNTIL_THE_END, then_close=True)) as server:
        wires = wires_to(server)
        assert (await ask(wires)).said == (200, b"all of it")
        assert wires.idle() is None


async def test_a_connection_that_the_server_will_close_is_not_used_again() -> None:
    last = WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with serving(says(last)) as server:
        wires = wires_to(server)
        assert (await ask(wires)).said == (200, b"{}")
        assert wires.idle() is None
        await asyncio.wait_for(server.closed[0].wait(), LIMIT_S)


@pytest.mark.parametrize(
    "said",
    [
        b"220 smtp.example ESMTP ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nsecret-of-a-prompt\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n....",
        CHUNKED.replace(b"5;x=y", b"zz"),
        WHOLE + WHOLE,
    ],
    ids=["another protocol", "no header", "a long head", "an upgrade", "no chunk", "two answers"],
)
async def test_what_is_no_answer_is_a_fault_or_ends_the_connection(said: bytes) -> None:
    async with serving(says(said)) as server:
        wires = wires_to(server)
        if said == WHOLE + WHOLE:
            assert (await ask(wires)).said == (200, b"{}")
        else:
            with pytest.raises(UnitFault) as fault:
                await ask(wires)
            assert fault.value.kind == "disconnected"
            assert "secret" not in str(fault.value)
        await asyncio.wait_for(server.closed[0].wait(), LIMIT_S)
        assert wires.idle() is None


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200", WHOLE[:-1], CHUNKED[:-2], UNTIL_THE_END[:20]]
)
async def test_an_answer_that_is_cut_short_is_a_fault(said: bytes) -> None:
    async with serving(says(said, then_close=True)) as server:
        with pytest.raises(UnitFault, match="closed the connection"):
            await ask(wires_to(server))


async def test_what_a_receiver_raises_ends_the_call_and_the_connection() -> None:
    async with serving(says(CHUNKED)) as server:
        heard = Heard(fault=UnitFault("engine", "it died"))
        with pytest.raises(UnitFault, match="it died"):
            await ask(wires_to(server), heard)
        assert heard.chunks == [b"one"]
        await asyncio.wait_for(server.closed[0].wait(), LIMIT_S)


async def test_a_call_that_is_given_up_is_seen_by_the_server() -> None:
    async with serving(says(CHUNKED[:-20])) as server:
        wires = wires_to(server)
        heard = Heard()
        call = asyncio.create_task(ask(wires, heard))
        await until(lambda: heard.chunks)
        call.cancel()
        await asyncio.wait_for(server.closed[0].wait(), LIMIT_S)
        assert wires.idle() is None


async def test_an_idle_connection_that_the_server_closed_is_not_used() -> None:
    async with serving(says(WHOLE, then_close=True)) as server:
        wires = wires_to(server)
        await ask(wires)
        await until(lambda: not wires._idle)
        assert (await ask(wires)).said == (200, b"{}")
        assert server.connections == 2


async def test_an_idle_connection_is_dropped_before_a_server_would() -> None:
    async with serving(says(WHOLE)) as server:
        wires = wires_to(server)
        await ask(wires)
        await asyncio.wait_for(server.closed[0].wait(), LIMIT_S)
        assert wires.idle() is None


async def test_nobody_to_connect_to_is_a_fault_that_says_so() -> None:
    async with serving(says(WHOLE)) as server:
        pass
    with pytest.raises(UnitFault, match="no connection: Connection refused") as fault:
        await wires_to(server).connect()
    assert fault.value.kind == "refused"


async def test_a_server_that_accepts_nobody_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never, raising=False)
    with pytest.raises(UnitFault, match=r"none within 0\.01 s") as fault:
        await Wires("127.0.0.1", 1, None, 0.01).connect()
    assert fault.value.kind == "refused"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A key and a certificate of localhost that nobody but a test trusts."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl to make a certificate with")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    name = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([program, *words, *name], check=True, capture_output=True)
    return key, cert


async def test_a_unit_may_speak_tls_and_its_certificate_is_checked(
    certificate: tuple[Path, Path],
) -> None:
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with serving(says(WHOLE), context) as server:
        wires = wires_to(server, ssl.create_default_context(cafile=str(cert)))
        assert (await ask(wires)).said == (200, b"{}")
        wires.close()
        with pytest.raises(UnitFault, match="no connection"):
            await wires_to(server, ssl.create_default_context()).connect()
