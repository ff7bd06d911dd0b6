"""Calls to the unit: two routes of OpenAI's API, and what tells its health and load.

Nothing of a client's request goes along but the body: no header, no query. While requests are
traced the gateway's own `traceparent` does, of which a client chooses at most the trace's id.
"""

import asyncio
import re
from collections.abc import Callable, Mapping

import httpx
import orjson
from prometheus_client.parser import text_string_to_metric_families

from common.models import ClaimedJob
from dispatcher.settings import DispatcherSettings
from dispatcher.watch import DeadlinePassed, Watch
from dispatcher.wire import Receiver, UnitFault, Wire, Wires

ROUTES = frozenset({"/v1/chat/completions", "/v1/completions"})

# A count of more digits is none, and Python itself refuses very many.
_PROMPT_TOKENS = re.compile(rb'"prompt_tokens":\s*(\d{1,15})(?!\d)')
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d{1,15})(?!\d)')

# vLLM's own names; the second of a pair is the older one. Several engines of one server hold their
# requests together, while each has a cache of its own: the fullest counts.
_REPORTED: dict[str, tuple[Callable[[list[float]], float], tuple[str, ...]]] = {
    "running": (sum, ("vllm:num_requests_running",)),
    "waiting": (sum, ("vllm:num_requests_waiting",)),
    "kv_cache_usage": (max, ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")),
}
_REPORTED_NAMES = {name for _, names in _REPORTED.values() for name in names}

_SUCCESS = range(200, 300)
_PROBE_S = 5.0
_MOST_PROBED_BYTES = 8 * 1024 * 1024


class _Page:
    """Receives what a probe asks for."""

    def __init__(self) -> None:
        self.status = 0
        self._chunks: list[bytes] = []
        self._bytes = 0

    @property
    def content(self) -> bytes:
        return b"".join(self._chunks)

    def head(self, status: int, _: str) -> None:
        self.status = status

    def body(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        if self._bytes > _MOST_PROBED_BYTES:
            raise UnitFault("long", f"a page of more than {_MOST_PROBED_BYTES} bytes")
        self._chunks.append(chunk)


class UnitClient:
    """HTTP to one unit."""

    def __init__(self, settings: DispatcherSettings) -> None:
        url = httpx.URL(settings.unit_url.rstrip("/"))
        tls = httpx.create_ssl_context() if url.scheme == "https" else None
        port = url.port or (443 if tls else 80)
        self._wires = Wires(url.host, port, tls, settings.connect_timeout_s)
        self._path = url.raw_path.decode().rstrip("/")
        headers = {
            "host": url.netloc.decode(),
            "accept-encoding": "identity",
            "user-agent": "adasplit",
        }
        if settings.unit_api_key:
            headers["authorization"] = f"Bearer {settings.unit_api_key.get_secret_value()}"
        self._of_all = _lines(headers)
        json = _lines({"content-type": "application/json"})
        self._heads = {
            route: f"POST {self._path}{route} HTTP/1.1\r\n{self._of_all}{json}" for route in ROUTES
        }

    async def post(
        self, job: ClaimedJob, receiver: Receiver, watch: Watch, traceparent: str = ""
    ) -> None:
        """Post a job's body, which the job then has no more; returns when the answer is complete.

        Raises UnitFault, DeadlinePassed, and what the receiver raises.
        """
        head = self._head(job, traceparent)
        wire = self._wires.idle() or await self._connected(watch)
        try:
            over = wire.send((head, job.body), receiver)
            # The wire has it until it is written: nobody here is to keep a long one longer.
            job.body = b""
            watch.start(wire.close)
            await over
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
        page = await self._get("/v1/models")
        if page is None:
            return None
        try:
            return tuple(str(model["id"]) for model in orjson.loads(page)["data"])
        except (ValueError, KeyError, TypeError):
            return None

    async def load(self) -> dict[str, float]:
        """What the unit says of itself under `/metrics`; what it does not say is missing."""
        page = await self._get("/metrics")
        return {} if page is None else reported(page.decode(errors="replace"))

    def close(self) -> None:
        """Close idle connections; one that is in use is closed by who uses it."""
        self._wires.close()

    async def _get(self, path: str) -> bytes | None:
        head = f"GET {self._path}{path} HTTP/1.1\r\n{self._of_all}{_lines({'accept': '*/*'})}\r\n"
        page = _Page()
        try:
            async with asyncio.timeout(_PROBE_S):
                wire = self._wires.idle() or await self._wires.connect()
                await wire.send((head.encode("latin-1"),), page)
        except (TimeoutError, UnitFault):
            return None
        return page.content if page.status in _SUCCESS else None


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
