"""HTTP/1.1 to the unit on kept connections, which hand on bytes in the callback that read them.

A general client passes each chunk through a reader, a task and some generators, which costs a
streamed token more than all else that a dispatcher does for it (docs/benchmarks.md).
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Protocol, cast

import httptools

_KEPT_S = 2.0
"""An idle connection goes before vLLM's server drops it (5 s): a POST meanwhile would fail."""

_MOST_HEAD_BYTES = 64 * 1024
_SUCCESS = 200
_NO_BODY = frozenset({204, 304})


class UnitFault(Exception):
    """The unit did not do what it should; `kind` is a short word for metrics."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Receiver(Protocol):
    """Takes an answer as it comes. What it raises ends the call, and the connection with it."""

    def head(self, status: int, content_type: str) -> None: ...

    def body(self, chunk: bytes) -> None: ...


class Wire(asyncio.Protocol):
    """One connection, for one call at a time."""

    def __init__(self, wires: "Wires") -> None:
        self._wires = wires
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._over: asyncio.Future[None] | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._content_type = ""
        self._head_bytes = 0
        self._framed = False
        self._body_follows = False

    def send(self, request: Sequence[bytes], receiver: Receiver) -> asyncio.Future[None]:
        """Send a request; the future is done when the answer is complete, or holds a fault.

        Who cancels it gives the answer up: the connection is closed, so that the unit learns of it.
        """
        if self._idle_timer:
            self._idle_timer.cancel()
            self._idle_timer = None
        self._receiver = receiver
        over = self._over = self._loop.create_future()
        over.add_done_callback(self._given_up)
        cast("asyncio.Transport", self._transport).writelines(request)
        return over

    def close(self, fault: Exception | None = None) -> None:
        """Hang up; a call under way ends with this fault, if it waits still."""
        if self._idle_timer:
            self._idle_timer.cancel()
            self._idle_timer = None
        self._end(fault)
        self._receiver = None
        self._wires.drop(self)
        if self._transport:
            self._transport.abort()

    # asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self.close(_raised(error))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # What the unit said stands in the parser's message, and may quote a prompt.
            self.close(UnitFault("disconnected", "the unit does not speak HTTP"))

    def connection_lost(self, exc: Exception | None) -> None:
        # Without a length the end of the connection is the end of the answer.
        whole = exc is None and self._body_follows and not self._framed
        self.close(None if whole else UnitFault("disconnected", "the unit closed the connection"))

    # The parser tells

    def on_message_begin(self) -> None:
        self._content_type = ""
        self._head_bytes = 0
        self._framed = self._body_follows = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _MOST_HEAD_BYTES:
            raise UnitFault("disconnected", f"the unit's headers exceed {_MOST_HEAD_BYTES} bytes")
        match name.lower():
            case b"content-type":
                self._content_type = value.decode("latin-1")
            case b"content-length" | b"transfer-encoding":
                self._framed = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._receiver is None:
            raise UnitFault("disconnected", "the unit spoke unasked")
        if status >= _SUCCESS:
            self._body_follows = status not in _NO_BODY
            self._receiver.head(status, self._content_type or "application/json")

    def on_body(self, body: bytes) -> None:
        if self._receiver:
            self._receiver.body(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < _SUCCESS:
            return
        self._receiver = None
        self._body_follows = False
        self._end(None)
        if self._parser.should_keep_alive():
            self._idle_timer = self._loop.call_later(_KEPT_S, self.close)
            self._wires.keep(self)
        else:
            self.close()

    def _given_up(self, over: "asyncio.Future[None]") -> None:
        # An answer that is whole by now has left the connection to others.
        if over.cancelled() and over is self._over:
            self.close()

    def _end(self, fault: Exception | None) -> None:
        over, self._over = self._over, None
        if over is None or over.done():
            return
        if fault is None:
            over.set_result(None)
        else:
            over.set_exception(fault)
            # Whoever waited may have been cancelled since: then nobody asks for it.
            over.exception()


class Wires:
    """The connections to one server, as many as there are calls; idle ones are used again."""

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None, connect_timeout_s: float
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._idle: list[Wire] = []

    def idle(self) -> Wire | None:
        """A connection that waits for a call, if one does."""
        return self._idle.pop() if self._idle else None

    async def connect(self) -> Wire:
        """A new connection. Raises UnitFault."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, wire = await loop.create_connection(
                    lambda: Wire(self), self._host, self._port, ssl=self._tls
                )
        except TimeoutError as error:
            late = f"no connection: none within {self._connect_timeout_s} s"
            raise UnitFault("refused", late) from error
        except OSError as error:
            raise UnitFault("refused", f"no connection: {_why(error)}") from error
        return wire

    def keep(self, wire: Wire) -> None:
        self._idle.append(wire)

    def drop(self, wire: Wire) -> None:
        if wire in self._idle:
            self._idle.remove(wire)

    def close(self) -> None:
        for wire in list(self._idle):
            wire.close()


def _raised(error: httptools.HttpParserCallbackError) -> Exception:
    """What a callback raised, out of the parser's own exception."""
    cause = error.__context__
    return cause if isinstance(cause, Exception) else error


def _why(error: OSError) -> str:
    # These have numbers of their own.
    if isinstance(error, ssl.SSLError | socket.gaierror) or not error.errno:
        return error.strerror or type(error).__name__
    return os.strerror(error.errno)
