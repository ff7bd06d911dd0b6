"""Sends one request and measures its answer, as a client of any OpenAI server would."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from bench.sse import StreamMeter, error_name

_HTTP_OK = 200
# uvicorn closes a connection that was idle for 5 s; a request sent at that moment would be lost.
_KEEPALIVE_S = 2.0
_CONNECT_TIMEOUT_S = 10.0
# aiohttp writes a body of bytes in one piece, and warns above this size that the loop waits for it.
_ONE_PIECE_BYTES = 1_000_000
JSON_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}


class ServerError(Exception):
    """A server that cannot be measured at all; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Order:
    """One request as it was planned; times count from the start of the run."""

    index: int
    source: str
    size_class: str
    url: str
    intended_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(slots=True)
class Row:
    """What became of one order. Times are on the clock of the order; None was not seen.

    `outcome` is None until the one end of the request is known, and is then never written again.
    """

    order: Order
    outcome: str | None = None
    sent_s: float | None = None
    first_token_s: float | None = None
    end_s: float | None = None
    tpot_s: float | None = None
    worst_gap_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    token_events: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def end(self, outcome: str, at_s: float) -> None:
        if self.outcome is not None:
            raise RuntimeError(f"request {self.order.index} ended as {self.outcome} and {outcome}")
        self.outcome = outcome
        self.end_s = at_s

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"

    @property
    def ttft_s(self) -> float | None:
        """From when it should have been sent, so that a late client cannot flatter the server."""
        return None if self.first_token_s is None else self.first_token_s - self.order.intended_s

    @property
    def e2e_s(self) -> float | None:
        return None if self.end_s is None else self.end_s - self.order.intended_s

    @property
    def lag_s(self) -> float | None:
        return None if self.sent_s is None else self.sent_s - self.order.intended_s


class Client:
    """Streams chat completions; `clock` gives the seconds since the start of the run."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        model: str,
        prompt: Callable[[int, int], str],
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._model = model
        self._prompt = prompt
        self._clock = clock

    async def send(self, row: Row) -> None:
        """See one request to its end and write it into the row; nothing the server does raises."""
        row.sent_s = self._clock()
        meter = StreamMeter()
        try:
            outcome = await self._stream(row, meter)
        except TimeoutError:
            outcome = "timeout"
        except aiohttp.ClientConnectorError:
            outcome = "connect_failed"
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
            outcome = "disconnected"
        except aiohttp.ClientError as error:
            outcome = f"client_error:{type(error).__name__}"
        _note(row, meter)
        row.end(outcome, self._clock())

    async def _stream(self, row: Row, meter: StreamMeter) -> str:
        order = row.order
        async with self._session.post(
            f"{order.url}/v1/chat/completions", data=self._body(order), headers=JSON_HEADERS
        ) as answer:
            row.headers = adasplit_headers(answer.headers)
            if answer.status != _HTTP_OK:
                return f"http_{answer.status}:{_refusal(await answer.read())}"
            while chunk := await answer.content.readany():
                meter.feed(chunk, self._clock())
        return meter.outcome(order.output_tokens)

    def _body(self, order: Order) -> bytes | io.BytesIO:
        prompt = self._prompt(order.index, order.prompt_tokens)
        body = chat_body(self._model, prompt, order.output_tokens, stream=True)
        return body if len(body) <= _ONE_PIECE_BYTES else io.BytesIO(body)


def open_session(*, timeout_s: float | None) -> aiohttp.ClientSession:
    """A session with no limit of its own on how many requests are open at once."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_TIMEOUT_S),
    )


def chat_body(model: str, prompt: str, output_tokens: int, *, stream: bool) -> bytes:
    """A chat request whose answer has exactly `output_tokens` tokens."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": output_tokens,
        "ignore_eos": True,
        "stream": stream,
    }
    if stream:
        body["stream_options"] = {"include_usage": True}
    return orjson.dumps(body)


def base_url(text: str) -> str:
    """`text` without a trailing slash or `/v1`; ValueError when it is not an HTTP URL."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError(f"{text} is not an http:// or https:// URL")
    return text.rstrip("/").removesuffix("/v1")


async def first_model(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """The first model that a server offers, as `/v1/models` describes it."""
    try:
        async with session.get(f"{url}/v1/models") as answer:
            listing = orjson.loads(await answer.read())
    except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
        raise ServerError(
            f"{url} does not list its models: {error or type(error).__name__}"
        ) from error
    models = listing.get("data") if isinstance(listing, dict) else None
    if not models:
        raise ServerError(f"{url} offers no model")
    return dict(models[0])


def adasplit_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What the gateway said about the job, by the last words of each `x-adasplit-` header."""
    prefix = "x-adasplit-"
    lowered = ((name.lower(), text) for name, text in headers.items())
    return {name.removeprefix(prefix): text for name, text in lowered if name.startswith(prefix)}


def _refusal(body: bytes) -> str:
    try:
        return error_name(orjson.loads(body))
    except orjson.JSONDecodeError:
        return "not_json"


def _note(row: Row, meter: StreamMeter) -> None:
    row.first_token_s = meter.first_s
    row.tpot_s = meter.tpot_s()
    row.worst_gap_s = meter.worst_gap_s if meter.token_events > 1 else None
    row.prompt_tokens = meter.prompt_tokens
    row.output_tokens = meter.output_tokens
    row.token_events = meter.token_events
