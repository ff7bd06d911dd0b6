"""A unit as a real HTTP server that a test scripts, and what it remembers of its calls."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3}}\n\n'
SSE = {"content-type": "text/event-stream; charset=utf-8"}


def event(text: str) -> bytes:
    return f'data: {{"choices":[{{"text":"{text}"}}]}}\n\n'.encode()


@dataclass
class Call:
    """One request at the unit; `unit` is where it arrived."""

    unit: "ScriptedUnit"
    request: web.Request
    job: str
    body: bytes

    async def stream(self, *chunks: bytes) -> web.StreamResponse:
        """Begin a streamed answer with these chunks, each in a write of its own."""
        response = web.StreamResponse(headers=SSE)
        await response.prepare(self.request)
        for chunk in chunks:
            await response.write(chunk)
        return response

    async def hang(self) -> None:
        """Say nothing more, until the other side hangs up."""
        await asyncio.Event().wait()

    async def released(self) -> None:
        await self.unit.gates[self.job].wait()

    def drop(self) -> None:
        """Cut the connection."""
        if self.request.transport:
            self.request.transport.abort()


Answer = Callable[[Call], Awaitable[web.StreamResponse]]


async def at_once(call: Call) -> web.StreamResponse:
    return await call.stream(event(call.job), USAGE, DONE)


async def when_released(call: Call) -> web.StreamResponse:
    await call.released()
    return await at_once(call)


async def begin_then_hang(call: Call) -> web.StreamResponse:
    response = await call.stream(event("first"))
    await call.hang()
    return response


async def hang(call: Call) -> web.StreamResponse:
    await call.hang()
    return web.Response()


@dataclass
class ScriptedUnit:
    """`answer` is the script for jobs; `healthy` what /health says."""

    answer: Answer = at_once
    healthy: bool = True
    probe_hangs: bool = False
    probes_open: int = 0
    port: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    calls: list[Call] = field(default_factory=list)
    aborted: Counter[str] = field(default_factory=Counter)
    gates: defaultdict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict(asyncio.Event)
    )
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def jobs(self) -> list[str]:
        return [call.job for call in self.calls]

    def has_begun(self, calls: int) -> bool:
        return len(self.calls) == calls

    def release(self, *jobs: str) -> None:
        for job in jobs:
            self.gates[job].set()

    async def start(self) -> None:
        """Listen; the second time on the same port as the first."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/{route:.*}", self._post)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and cut all connections."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, _: web.Request) -> web.Response:
        self.probes_open += 1
        try:
            if self.probe_hangs:
                await asyncio.Event().wait()
        finally:
            self.probes_open -= 1
        return web.Response(status=200 if self.healthy else 503)

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "scripted"}]})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        job = request.headers["x-request-id"].partition(":")[0]
        call = Call(self, request, job, await request.read())
        self.calls.append(call)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self.answer(call)
        except (asyncio.CancelledError, ConnectionError):
            self.aborted[call.job] += 1
            raise
        finally:
            self.in_flight -= 1
