"""HTTP/1.1 as uvicorn speaks it, with bounds on what a connection may cost beside its answers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gateway.errors import (
    ApiError,
    bad_http,
    head_too_large,
    too_many_connections,
    too_slow,
)

CHUNKS = "adasplit.chunks"
"""The scope's entry for what writes an answer's further chunks at once, without ASGI's messages."""

_LINGER_S = 5.0
"""How long the rest of a body is read and thrown away after an answer that did not wait for it."""

_FRAMING = (b"content-length", b"transfer-encoding")

_LENGTH = b"\r\ncontent-length: "
_NO_LENGTH = b"\r\ncontent-length: 0\r\n"

_MOST_PIPELINED = 8
"""Requests that may wait behind the one that is being answered."""

_UNFRAMED_BYTES = 16 * 1024
"""Framing of chunks, their extensions and trailers, beyond as many bytes as the body itself has."""


@dataclass(frozen=True, slots=True)
class WireBounds:
    """What a connection may cost. `refused` is told of each refusal."""

    max_connections: int
    max_head_bytes: int
    head_timeout_s: float
    body_timeout_s: float
    stall_s: float
    refused: Callable[[ApiError], None]


class _Reading(Enum):
    """What comes next on a connection."""

    NOTHING = "between two requests"
    HEAD = "head"
    BODY = "body"


class BoundedProtocol(HttpToolsProtocol):
    """A connection. Only what is incomplete after a read costs a timer: most requests are not."""

    def __init__(self, bounds: WireBounds, **given: Any) -> None:
        super().__init__(**given)
        self._bounds = bounds
        self._reading = _Reading.NOTHING
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._refusal: ApiError | None = None
        self._answered: RequestResponseCycle | None = None
        self._resuming = False
        self._head_bytes = 0
        self._framing_bytes = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        if len(self.connections) > self._bounds.max_connections:
            self._refuse(too_many_connections())
        else:
            self._start_timer(self._bounds.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.resume_writing()
        super().connection_lost(exc)
        # uvicorn tells the newest request alone; others may wait behind the one that is answered.
        if self._answered and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        before = self._reading
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refusal or bad_http())
        else:
            if self._reading is not _Reading.NOTHING or not self._answering:
                self._wait_for_more(before, len(data))

    def _go_on(self, rest: bytes) -> None:
        """Go on in HTTP/1.1 after a request that offers another protocol, as Java's client does.

        The parser has skipped the request's body: a new one reads it, told how long it is.
        """
        framing = [header for header in self.headers if header[0] in _FRAMING]
        self.parser = _parser(self)
        if framing and framing[0][1].strip(b"0"):
            self._reading = _Reading.BODY
            self.cycle.more_body = True
            self._resuming = True
            head = b"".join(b"%s: %s\r\n" % header for header in framing)
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + head + b"\r\n")
            self._resuming = False
        if rest:
            self.data_received(rest)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(self._bounds.stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stall:
            self._stall.cancel()
            self._stall = None
        super().resume_writing()

    # What the parser tells

    def on_message_begin(self) -> None:
        if self._resuming:
            return
        self._reading = _Reading.HEAD
        self._head_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers are no headers: whoever checked those in front of us has not seen them.
        if self._reading is _Reading.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._resuming:
            return
        self._stop_timer()
        self._framing_bytes = 0
        if len(self.pipeline) >= _MOST_PIPELINED:
            self._give_up(bad_http())
        if self._length_of_head() > self._bounds.max_head_bytes:
            self._give_up(head_too_large(self._bounds.max_head_bytes))
        super().on_headers_complete()
        if not self.pipeline:
            self._answered = self.cycle
        elif len(self.pipeline) < _MOST_PIPELINED:
            # uvicorn reads no further behind one: a client that left would show at the next write.
            self.flow.resume_reading()
        # What the types of a scope do not know.
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[CHUNKS] = partial(_write_chunk, self.cycle, self.transport)
        if scope["method"] != "HEAD":
            self.cycle.transport = cast("asyncio.Transport", _OneWrite(self.transport))
        self._reading = _Reading.BODY

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stop_timer()
        self._reading = _Reading.NOTHING
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._answered = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        if self._reading is _Reading.BODY and not self._answering:
            self._stop_timer()
            self._start_timer(_LINGER_S)

    # Bounds

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _length_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _wait_for_more(self, before: _Reading, size_bytes: int) -> None:
        """Start the time in which a request has to be complete, and count what is not of it yet."""
        if self._reading is _Reading.BODY:
            if before is _Reading.BODY:
                self._framing_bytes += size_bytes
                if self._framing_bytes > _UNFRAMED_BYTES:
                    self._refuse(bad_http())
            self._start_timer(self._bounds.body_timeout_s)
            return
        # A head that begins behind the end of a body is counted from its next bytes on.
        if before is not _Reading.BODY:
            self._head_bytes += size_bytes
        if self._head_bytes > self._bounds.max_head_bytes:
            self._refuse(head_too_large(self._bounds.max_head_bytes))
        self._start_timer(self._bounds.head_timeout_s)

    def _start_timer(self, seconds: float) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(seconds, self._out_of_time)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _out_of_time(self) -> None:
        if self._reading is _Reading.NOTHING:
            self.transport.close()
        else:
            self._refuse(too_slow())

    def _give_up(self, error: ApiError) -> None:
        """End the parsing of what has been received: the parser passes on an exception."""
        self._refusal = error
        raise ValueError(error.message)

    def _refuse(self, error: ApiError) -> None:
        """Answer with an error and close; only close where that would end up in another answer."""
        if self.transport.is_closing():
            return
        self._stop_timer()
        self._bounds.refused(error)
        if not self._would_mix():
            head = b"".join(b"%s: %s\r\n" % header for header in error.headers())
            status = STATUS_LINE[error.status]
            self.transport.write(status + head + b"connection: close\r\n\r\n" + error.body)
        if self._answering:
            # The application is not to write behind the refusal; it sees that nobody listens.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _would_mix(self) -> bool:
        """Whether an earlier request, or this one, has an answer on its way."""
        if self._reading is _Reading.BODY:
            return bool(self.pipeline) or self.cycle.response_started
        return self._answering


class _OneWrite:
    """Lets the head of an answer whose length is known wait for its body: both leave as one."""

    __slots__ = ("_begun", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._begun = False
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif not self._begun:
            self._begun = True
            if _LENGTH in data and _NO_LENGTH not in data:
                self._head = data
                return
        self._transport.write(data)

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


def _write_chunk(cycle: RequestResponseCycle, transport: asyncio.Transport, chunk: bytes) -> bool:
    """Write a chunk of a streamed answer that has begun, unless the client has to be waited for."""
    if cycle.flow.write_paused or cycle.disconnected or not cycle.chunked_encoding:
        return False
    if transport.is_closing():
        return False
    transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    return True


def _parser(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    # As uvicorn sets it: after the last request of a connection more bytes are no error.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
