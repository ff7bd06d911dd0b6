"""Small real servers for the benchmark client to measure."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Mapping[str, Answer]], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server of `{path: answer}` on a free port and give its base URL."""
    runners: list[web.AppRunner] = []

    async def start(routes: Mapping[str, Answer]) -> str:
        app = web.Application(client_max_size=2**24)
        for path, answer in routes.items():
            app.router.add_route("*", path, answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()
