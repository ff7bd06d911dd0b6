"""A client that costs little: plain HTTP/1.1 on kept connections, and every answer checked."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import httptools
import orjson

from bench.client import ServerError, chat_body
from bench.cost.unit import MODEL
from bench.sse import StreamMeter

_HTTP_OK = 200
_CONNECT_WITHIN_S = 10.0
_TOKEN = b" token"
_ROUTE = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go: one or several addresses of one system, which get them in turn."""

    name: str
    urls: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)


class Line(asyncio.Protocol):
    """One kept connection; one request at a time. Raises ServerError when it breaks.

    One that the server has closed after an answer, as it may, is opened again.
    """

    def __init__(self, target: Target, url: str) -> None:
        self._target = target
        self._url = urlsplit(url)
        self._transport: asyncio.Transport | None = None
        fields = {"host": urlsplit(url).netloc, "content-type": "application/json"}
        lines = "".join(
            f"{key}: {text}\r\n" for key, text in (fields | dict(target.headers)).items()
        )
        self._head = f"POST {_ROUTE} HTTP/1.1\r\n{lines}content-length: ".encode()
        self._body: list[bytes] = []
        self._heard: Callable[[bytes], None] | None = None
        self._answer: asyncio.Future[bytes] | None = None

    async def ask(self, body: bytes, heard: Callable[[bytes], None] | None = None) -> bytes:
        """The body of the answer; `heard` gets its pieces as they come."""
        self._body.clear()
        self._heard = heard
        transport = self._transport or await self.open()
        self._answer = asyncio.get_running_loop().create_future()
        transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        return await self._answer

    async def open(self) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        host, port = self._url.hostname or "", self._url.port or 80
        self._parser: Any = httptools.HttpResponseParser(self)
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                transport, _ = await loop.create_connection(lambda: self, host, port)
        except (OSError, TimeoutError) as error:
            raise self._failure(f"cannot be connected to: {error}") from error
        self._transport = transport
        return transport

    def close(self) -> None:
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"did not answer in HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(f"closed the connection within an answer{f': {exc}' if exc else ''}")

    # What follows are the parser's callbacks, by its names.

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        if self._heard:
            self._heard(body)

    def on_message_complete(self) -> None:
        if self._answer is None or self._answer.done():
            return
        if not self._parser.should_keep_alive() and self._transport:
            self._transport.close()
            self._transport = None
        body = b"".join(self._body)
        status = self._parser.get_status_code()
        if status == _HTTP_OK:
            self._answer.set_result(body)
        else:
            self._fail(f"answered {status}: {body[:300].decode(errors='replace')}")

    def _fail(self, what: str) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(self._failure(what))

    def _failure(self, what: str) -> ServerError:
        return ServerError(f"{self._target.name} {what}")


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer in one piece: when it was asked for, on the system's clock, and how long it took.

    `at_unit` is what the unit wrote of its own times.
    """

    sent_s: float
    took_s: float
    at_unit: str


class Requests:
    """Requests of one size, each with a word of its own, which its answer has to begin with."""

    def __init__(self, target: Target, tokens: int) -> None:
        self._target = target
        self._tokens = tokens
        self._numbers = count(1)

    async def whole(self, line: Line) -> Whole:
        """One answer in one piece. Raises ServerError when it is not the one asked for."""
        word = self._word()
        asked = chat_body(MODEL, f"Begin with {word}", self._tokens, stream=False)
        sent_s = time.time()
        start_s = time.perf_counter()
        body = await line.ask(asked)
        took_s = time.perf_counter() - start_s
        try:
            found = orjson.loads(body)
            said = found["choices"][0]["message"]["content"]
            tokens = found["usage"]["completion_tokens"]
            at_unit = str(found.get("system_fingerprint"))
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
            raise self._wrong("unexpected_shape", body) from None
        if said != word + _TOKEN.decode() * (self._tokens - 1):
            raise self._wrong("mixed_answers", body)
        if tokens != self._tokens:
            raise self._wrong("wrong_token_count", body)
        return Whole(sent_s, took_s, at_unit)

    async def stream(self, line: Line, heard: Callable[[int], None]) -> None:
        """One streamed answer; `heard` gets how many tokens came together, when they come."""
        word = self._word()
        counting = _Counting(heard)
        asked = chat_body(MODEL, f"Begin with {word}", self._tokens, stream=True)
        body = await line.ask(asked, counting.feed)
        meter = StreamMeter()
        meter.feed(body, 0.0)
        if (outcome := meter.outcome(self._tokens)) != "ok":
            raise self._wrong(outcome, body[-600:])
        if word.encode() not in body:
            raise self._wrong("mixed_answers", body)
        if counting.tokens != self._tokens - 1:
            raise self._wrong("wrong_token_count", body[-600:])

    def _word(self) -> str:
        return f"{next(self._numbers):08d}"

    def _wrong(self, outcome: str, body: bytes) -> ServerError:
        said = body[:600].decode(errors="replace")
        return ServerError(f"{self._target.name} did not answer as asked: {outcome}: {said}")


class _Counting:
    """Counts tokens in pieces of any cut. Only the last ones of a piece may lack their end."""

    def __init__(self, heard: Callable[[int], None]) -> None:
        self._heard = heard
        self._rest = b""
        self.tokens = 0

    def feed(self, piece: bytes) -> None:
        joined = self._rest + piece
        found = joined.count(_TOKEN)
        self._rest = joined[-(len(_TOKEN) - 1) :]
        self.tokens += found
        if found:
            self._heard(found)


@asynccontextmanager
async def lines(target: Target, number: int) -> AsyncIterator[list[Line]]:
    """So many open connections, to the target's addresses in turn. Raises ServerError."""
    opened: list[Line] = []
    try:
        for _, url in zip(range(number), _in_turn(target.urls), strict=False):
            opened.append(Line(target, url))
            await opened[-1].open()
        yield opened
    finally:
        for line in opened:
            line.close()


def _in_turn(urls: tuple[str, ...]) -> Iterator[str]:
    while True:
        yield from urls
