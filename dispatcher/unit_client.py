"""Calls to the unit: two routes of OpenAI's API, and what tells its health and load.

Nothing of a client's request goes along but the body: no header, no query. While requests are
traced the gateway's own `traceparent` does, of which a client chooses at most the trace's id.
"""

import asyncio
import re
from collections.abc import Callable, Mapping

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp import AiohttpTransport
from prometheus_client.parser import text_string_to_metric_families

from common.models import ClaimedJob
from dispatcher.settings import DispatcherSettings
from dispatcher.watch import DeadlinePassed, Watch
from dispatcher.wire import Receiver, Wire, Wires

ROUTES = frozenset({"/v1/chat/completions", "/v1/completions"})

_PROMPT_TOKENS = re.compile(rb'"prompt_tokens":\s*(\d+)')
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')

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

# As for jobs: an idle connection goes before vLLM's server drops it.
_LIMITS = httpx.Limits(keepalive_expiry=2.0)


class UnitClient:
    """HTTP to one unit: jobs on wires of our own, and what is asked now and then with httpx."""

    def __init__(self, settings: DispatcherSettings) -> None:
        headers = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "adasplit"}
        if settings.unit_api_key:
            headers["authorization"] = f"Bearer {settings.unit_api_key.get_secret_value()}"
        url = httpx.URL(settings.unit_url.rstrip("/"))
        tls = httpx.create_ssl_context() if url.scheme == "https" else None
        self._client = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            transport=AiohttpTransport(verify=tls or False, limits=_LIMITS),
        )
        port = url.port or (443 if tls else 80)
        self._wires = Wires(url.host, port, tls, settings.connect_timeout_s)
        of_all = headers | {"host": url.netloc.decode(), "content-type": "application/json"}
        del of_all["accept"]
        self._heads = {
            route: f"POST {url.raw_path.decode().rstrip('/')}{route} HTTP/1.1\r\n{_lines(of_all)}"
            for route in ROUTES
        }

    async def post(
        self, job: ClaimedJob, receiver: Receiver, watch: Watch, traceparent: str = ""
    ) -> None:
        """Post a job's body; returns when the answer is complete.

        Raises UnitFault, DeadlinePassed, and what the receiver raises.
        """
        wire = self._wires.idle() or await self._connected(watch)
        try:
            over = wire.send((self._head(job, traceparent), job.body), receiver)
            watch.start(wire.close)
            await over
        except BaseException:
            # The unit learns that nobody waits for the rest.
            wire.close()
            raise
        finally:
            watch.stop()

    async def _connected(self, watch: Watch) -> Wire:
        try:
            async with asyncio.timeout(watch.left_s):
                return await self._wires.connect()
        except TimeoutError:
            raise DeadlinePassed from None

    def _head(self, job: ClaimedJob, traceparent: str) -> bytes:
        head = self._heads.get(job.route)
        if head is None:
            raise ValueError(f"not a route of a unit: {job.route}")
        lines = _of_attempt(job) | {"content-length": str(len(job.body))}
        if traceparent:
            lines["traceparent"] = traceparent
        return f"{head}{_lines(lines)}\r\n".encode("latin-1")

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
        self._wires.close()
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


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


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
