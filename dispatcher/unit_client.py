"""Calls to the unit: two routes of OpenAI's API, and what tells its health and load.

Nothing of a client's request goes along but the body: no header, no query. While requests are
traced the gateway's own `traceparent` does, of which a client chooses at most the trace's id.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp import AiohttpTransport
from prometheus_client.parser import text_string_to_metric_families

from common.models import ClaimedJob
from dispatcher.settings import DispatcherSettings

ROUTES = frozenset({"/v1/chat/completions", "/v1/completions"})

_PROMPT_TOKENS = re.compile(rb'"prompt_tokens":\s*(\d+)')
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')

_UNQUOTED = re.compile(r"[\w .,:/()\[\]-]{0,160}(?=$|[\n'\"<])")

# vLLM's own names; the second of a pair is the older one. Several engines of one server hold their
# requests together, while each has a cache of its own: the fullest counts.
_REPORTED: dict[str, tuple[Callable[[list[float]], float], tuple[str, ...]]] = {
    "running": (sum, ("vllm:num_requests_running",)),
    "waiting": (sum, ("vllm:num_requests_waiting",)),
    "kv_cache_usage": (max, ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")),
}
_REPORTED_NAMES = {name for _, names in _REPORTED.values() for name in names}

# An answer that is not HTTP comes through the transport as aiohttp's own exception.
_NO_HTTP = (aiohttp.ClientError, HttpProcessingError)

# 0 is no limit to aiohttp, None would be its default of 100. An idle connection is dropped here
# before vLLM's server drops it (5 s): a POST on it meanwhile would fail.
_LIMITS = httpx.Limits(max_connections=0, keepalive_expiry=2.0)


class UnitFault(Exception):
    """The unit did not do what it should; `kind` is a short word for metrics."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class UnitClient:
    """HTTP to one unit, on kept connections, as many as there are jobs."""

    def __init__(self, settings: DispatcherSettings) -> None:
        headers = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "adasplit"}
        if settings.unit_api_key:
            headers["authorization"] = f"Bearer {settings.unit_api_key.get_secret_value()}"
        base_url = settings.unit_url.rstrip("/")
        self._transport = AiohttpTransport(limits=_LIMITS)
        self._client = httpx.AsyncClient(
            base_url=base_url, headers=headers, transport=self._transport
        )
        self._urls = {route: httpx.URL(base_url + route) for route in ROUTES}
        self._headers = headers | {"content-type": "application/json"}
        self._timeout = httpx.Timeout(None, connect=settings.connect_timeout_s).as_dict()

    @asynccontextmanager
    async def post(self, job: ClaimedJob, traceparent: str = "") -> AsyncIterator[httpx.Response]:
        """Post a job's body. Raises UnitFault when the connection fails, also inside the answer."""
        route = job.route
        if route not in ROUTES:
            raise ValueError(f"not a route of a unit: {route}")
        # Straight to the transport: the client's redirects, cookies and authentication have no use
        # here, and cost as much as the call itself.
        headers = self._headers | _of_attempt(job)
        if traceparent:
            headers["traceparent"] = traceparent
        request = httpx.Request(
            "POST",
            self._urls[route],
            headers=headers,
            content=job.body,
            extensions={"timeout": self._timeout},
        )
        try:
            answer = await self._transport.handle_async_request(request)
            try:
                yield answer
            finally:
                await answer.aclose()
        # The transport reports a refusal, too, as a timeout.
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UnitFault("refused", f"no connection: {_plain(error)}") from error
        except (httpx.TransportError, *_NO_HTTP) as error:
            raise UnitFault("disconnected", _plain(error)) from None

    async def healthy(self) -> bool:
        """Whether `/health` answers 200."""
        return await self._get("/health") is not None

    async def models(self) -> tuple[str, ...] | None:
        """The ids under `/v1/models`; None when the unit does not say."""
        answer = await self._get("/v1/models")
        if answer is None:
            return None
        try:
            return tuple(str(model["id"]) for model in answer.json()["data"])
        except (ValueError, KeyError, TypeError):
            return None

    async def load(self) -> dict[str, float]:
        """What the unit says of itself under `/metrics`; what it does not say is missing."""
        answer = await self._get("/metrics")
        return {} if answer is None else reported(answer.text)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _get(self, path: str) -> httpx.Response | None:
        try:
            answer = await self._client.get(path, timeout=httpx.Timeout(5.0))
        except (httpx.HTTPError, *_NO_HTTP):
            return None
        return answer if answer.is_success else None


def _of_attempt(job: ClaimedJob) -> dict[str, str]:
    # vLLM refuses an id that it still works on, as it may on what an earlier attempt left behind.
    attempt = f":{job.attempt}" if job.attempt > 1 else ""
    accept = "text/event-stream" if job.stream else "application/json"
    return {"accept": accept, "x-request-id": job.id + attempt}


def _plain(error: Exception) -> str:
    """What an exception says before it quotes the answer: an answer may quote its prompt."""
    said = _UNQUOTED.match(str(error))
    return (said[0].strip(" :") if said else "") or type(error).__name__


def reported(text: str) -> dict[str, float]:
    """The load in a page of vLLM metrics; an absent metric is absent."""
    # A page has 640 lines, and to parse all of them takes 10 ms, in which no byte is relayed.
    lines = [line for line in text.splitlines() if _metric_name(line) in _REPORTED_NAMES]
    values: dict[str, list[float]] = {}
    try:
        for family in text_string_to_metric_families("\n".join(lines)):
            for sample in family.samples:
                values.setdefault(sample.name, []).append(sample.value)
    except ValueError:
        return {}
    found = {}
    for name, (together, spellings) in _REPORTED.items():
        known = [values[spelling] for spelling in spellings if spelling in values]
        if known:
            found[name] = together(known[0])
    return found


def _metric_name(line: str) -> str:
    return line.partition("{")[0].partition(" ")[0]


def usage(tail: bytes) -> tuple[int, int]:
    """Prompt and completion tokens from the end of an answer; 0 when it does not say.

    The last mention counts. Generated text cannot forge one: inside a JSON string the quote before
    the colon is escaped.
    """
    return _last(_PROMPT_TOKENS, tail), _last(_COMPLETION_TOKENS, tail)


def _last(pattern: re.Pattern[bytes], tail: bytes) -> int:
    found = pattern.findall(tail)
    return int(found[-1]) if found else 0


def content_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "application/json")
