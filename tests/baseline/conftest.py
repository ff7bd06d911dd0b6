"""A baseline in the test's own loop, on a real socket; the test plays the units."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from baseline.policies import policy_named
from baseline.service import run
from baseline.settings import BaselineSettings
from common.server import listen

GENEROUS_S = 20.0
WHOLE = (b'data: {"id": "a"}\n\n', b'data: {"n": "\xc3\xa9"}\n\n', b"data: [DONE]\n\n")


@dataclass
class FakeUnit:
    """Answers when the test lets it, and notes what it was asked."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    aborted: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 200
    chunks: tuple[bytes, ...] = WHOLE
    cut: bool = False

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.paths.append(request.path)
        self.begun.set()
        try:
            return await self._answer(request)
        except (asyncio.CancelledError, ConnectionError):
            self.aborted.set()
            raise

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.status != 200:
            await self.go.wait()
            return web.json_response({"error": {"code": "own"}}, status=self.status)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        if self.cut:
            await response.prepare(request)
        await self.go.wait()
        if not response.prepared:
            await response.prepare(request)
        for chunk in self.chunks:
            await response.write(chunk)
        if self.cut and request.transport:
            request.transport.abort()
        return response

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m", "max_model_len": 99}]})

    async def health(self, _request: web.Request) -> web.Response:
        return web.Response()


@dataclass
class Bench:
    """A baseline and its units."""

    url: str
    units: list[FakeUnit]
    session: aiohttp.ClientSession

    def post(self, prompt: str = "hi", **more: Any) -> Any:
        headers = more.pop("headers", {})
        fields = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": True}
        body = json.dumps(fields | more).encode()
        return self.session.post(
            f"{self.url}/v1/chat/completions",
            data=body,
            headers={"content-type": "application/json", **headers},
        )

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as answer:
            return await answer.json()

    async def until(self, holds: Callable[[Any], bool]) -> Any:
        """The first state of which that holds; fails after a generous while."""
        async with asyncio.timeout(GENEROUS_S):
            while not holds(state := await self.get("/v1/state")):  # noqa: ASYNC110  # HTTP sets no event
                await asyncio.sleep(0.005)
            return state


Start = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a baseline with that policy in front of as many units."""
    async with AsyncExitStack() as stack:

        async def started(
            policy: str, units: int = 2, short: int | None = None, **settings: Any
        ) -> Bench:
            fakes = [await stack.enter_async_context(_unit()) for _ in range(units)]
            urls = {f"unit-{place}": fake.url for place, fake in enumerate(fakes, start=1)}
            listener = listen("127.0.0.1", 0)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            chosen = policy_named(policy, tuple(urls), short)
            stop = asyncio.Event()
            wanted = BaselineSettings(**{"drain_s": 1, **settings})
            serving = asyncio.create_task(run(wanted, chosen, urls, listener, stop))

            async def stopped() -> None:
                for fake in fakes:
                    fake.go.set()
                stop.set()
                await serving

            stack.push_async_callback(stopped)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Bench(url, fakes, session)

        yield started


@asynccontextmanager
async def _unit() -> AsyncIterator[FakeUnit]:
    fake = FakeUnit()
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/chat/completions", fake.complete)
    app.router.add_post("/v1/completions", fake.complete)
    app.router.add_get("/v1/models", fake.models)
    app.router.add_get("/health", fake.health)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        yield fake
    finally:
        await runner.cleanup()
