"""Sends one request and measures its answer, as a client of any OpenAI server would."""

import asyncio
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from bench.rows import Order, Row
from bench.sse import StreamMeter, error_name

_HTTP_OK = 200
# uvicorn closes a connection that was idle for 5 s; a request sent at that moment would be lost.
_KEEPALIVE_S = 2.0
_CONNECT_TIMEOUT_S = 10.0
# aiohttp writes a body of bytes in one piece, and warns above this size that the loop waits for it.
_ONE_PIECE_BYTES = 1_000_000
_REFUSED = (429, 503)
_RETRY_AFTER_S = 1.0
JSON_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}

Prompt = str | list[int]
"""Text for a chat, or token ids for a completion."""


class ServerError(Exception):
    """A server that cannot be measured at all; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How requests are put: the model, and what surrounds the prompt.

    Without `ignore_eos` answers may be shorter than asked: then any length up to that is whole.
    `retries` is how often a refused request is sent again, when its Retry-After has passed.
    """

    model: str
    ignore_eos: bool = True
    say_class: bool = False
    retries: int = 0


@dataclass(slots=True)
class _Try:
    """One sending of a request; `retry_after_s` is set when it was refused and may come again."""

    meter: StreamMeter = field(default_factory=StreamMeter)
    outcome: str = ""
    retry_after_s: float | None = None


class Client:
    """Streams answers; `clock` gives seconds of life since the start, `speed` per second here."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        asking: Asking,
        *,
        prompt: Callable[[int, int], Prompt],
        clock: Callable[[], float],
        speed: float = 1.0,
    ) -> None:
        self._session = session
        self._asking = asking
        self._prompt = prompt
        self._clock = clock
        self._speed = speed

    async def send(self, row: Row) -> None:
        """See one request to its end and write it into the row; nothing the server does raises."""
        row.sent_s = self._clock()
        one = await self._try(row)
        while one.retry_after_s is not None and row.retries < self._asking.retries:
            row.retries += 1
            await asyncio.sleep(one.retry_after_s)
            one = await self._try(row)
        _note(row, one.meter, self._speed)
        row.end(one.outcome, self._clock())

    async def _try(self, row: Row) -> _Try:
        one = _Try()
        try:
            await self._stream(row, one)
        except TimeoutError:
            one.outcome = "timeout"
        except aiohttp.ClientConnectorError:
            one.outcome, one.retry_after_s = "connect_failed", _RETRY_AFTER_S
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
            one.outcome = "disconnected"
        except aiohttp.ClientError as error:
            one.outcome = f"client_error:{type(error).__name__}"
        return one

    async def _stream(self, row: Row, one: _Try) -> None:
        order, asking = row.order, self._asking
        prompt = self._prompt(order.index, order.prompt_tokens)
        route = "chat/completions" if isinstance(prompt, str) else "completions"
        body = _body(asking.model, prompt, order.output_tokens, ignore_eos=asking.ignore_eos)
        async with self._session.post(
            f"{order.url}/v1/{route}", data=body, headers=self._headers(order)
        ) as answer:
            row.headers = adasplit_headers(answer.headers)
            if answer.status != _HTTP_OK:
                one.outcome = f"http_{answer.status}:{_refusal(await answer.read())}"
                if answer.status in _REFUSED:
                    one.retry_after_s = _seconds(answer.headers.get("retry-after"))
                return
            while chunk := await answer.content.readany():
                one.meter.feed(chunk, self._clock())
        one.outcome = one.meter.outcome(order.output_tokens, exactly=asking.ignore_eos)

    def _headers(self, order: Order) -> dict[str, str]:
        if not self._asking.say_class:
            return JSON_HEADERS
        return {**JSON_HEADERS, "x-adasplit-class": order.size_class}


def open_session(*, timeout_s: float | None, api_key: str = "") -> aiohttp.ClientSession:
    """A session with no limit of its own on how many requests are open at once."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_TIMEOUT_S),
        headers={"authorization": f"Bearer {api_key}"} if api_key else None,
    )


def chat_body(
    model: str, prompt: str, output_tokens: int, *, stream: bool, ignore_eos: bool = True
) -> bytes:
    """A chat request; with `ignore_eos` its answer has exactly `output_tokens` tokens."""
    messages = [{"role": "user", "content": prompt}]
    return _dumped(
        {"model": model, "messages": messages}, output_tokens, stream=stream, ignore_eos=ignore_eos
    )


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


def _body(
    model: str, prompt: Prompt, output_tokens: int, *, ignore_eos: bool
) -> bytes | io.BytesIO:
    if isinstance(prompt, str):
        body = chat_body(model, prompt, output_tokens, stream=True, ignore_eos=ignore_eos)
    else:
        fields = {"model": model, "prompt": prompt}
        body = _dumped(fields, output_tokens, stream=True, ignore_eos=ignore_eos)
    return body if len(body) <= _ONE_PIECE_BYTES else io.BytesIO(body)


def _dumped(body: dict[str, Any], output_tokens: int, *, stream: bool, ignore_eos: bool) -> bytes:
    body |= {"max_tokens": output_tokens, "stream": stream}
    if ignore_eos:
        body["ignore_eos"] = True
    if stream:
        body["stream_options"] = {"include_usage": True}
    return orjson.dumps(body)


def _refusal(body: bytes) -> str:
    try:
        return error_name(orjson.loads(body))
    except orjson.JSONDecodeError:
        return "not_json"


def _seconds(retry_after: str | None) -> float:
    # HTTP also allows a date there; no server of this kind sends one.
    return float(retry_after) if retry_after and retry_after.isdecimal() else _RETRY_AFTER_S


def _note(row: Row, meter: StreamMeter, speed: float) -> None:
    row.first_token_s = meter.first_s
    row.tpot_s = meter.tpot_s()
    row.worst_gap_s = meter.worst_gap_s if meter.token_events > 1 else None
    row.prompt_tokens = meter.prompt_tokens
    row.output_tokens = meter.output_tokens
    row.token_events = meter.token_events
    row.queue_s = _queue_s(row.headers, speed)


def _queue_s(headers: Mapping[str, str], speed: float) -> float | None:
    """What the gateway said the job waited, on its own clock; None when it gave no number."""
    try:
        return float(headers["queue-ms"]) / 1000 * speed
    except (KeyError, ValueError):
        return None
