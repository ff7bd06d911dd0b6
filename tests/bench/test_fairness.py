"""The one's wait and who went before it, as a gateway tells them."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from bench.client import ServerError
from bench.fairness import measure

KEYS = ("of-crowd", "of-one")


class Gateway:
    """Claims a job of the crowd every 10 ms of its own clock, `late` of them before the one."""

    def __init__(self, late: int, *, full: bool = False) -> None:
        self._full = full
        self._late = late
        self._now_ms = 1_000_000
        self._jobs: dict[str, tuple[int, int]] = {}
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, asyncio.Future[str]]] = []

    async def ask(self, request: web.Request) -> web.Response:
        if self._full:
            return web.Response(status=429)
        submitted_ms = self._now_ms
        if _is_one(request):
            self._claim(self._late)
            job = self._claimed(submitted_ms)
        else:
            answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._waiting.append((submitted_ms, answer))
            job = await answer
        return web.Response(headers={"x-adasplit-job": job})

    async def tell(self, request: web.Request) -> web.Response:
        submitted_ms, claimed_ms = self._jobs[request.match_info["job"]]
        if _is_one(request):
            asyncio.get_running_loop().call_later(0.1, self._claim, 100)
        return web.json_response({"times_ms": {"submitted": submitted_ms, "claimed": claimed_ms}})

    async def state(self, _: web.Request) -> web.Response:
        return web.json_response({"queues": {"short": {"depth": len(self._waiting)}}})

    def _claim(self, count: int) -> None:
        for _ in range(count):
            submitted_ms, answer = self._waiting.pop(0)
            answer.set_result(self._claimed(submitted_ms))

    def _claimed(self, submitted_ms: int) -> str:
        self._now_ms += 10
        job = f"job-{next(self._numbers)}"
        self._jobs[job] = (submitted_ms, self._now_ms)
        return job


def _is_one(request: web.Request) -> bool:
    return request.headers["authorization"] == f"Bearer {KEYS[1]}"


@asynccontextmanager
async def served(gateway: Gateway) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", gateway.ask)
    app.router.add_get("/v1/jobs/{job}", gateway.tell)
    app.router.add_get("/v1/state", gateway.state)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("late", [0, 3])
async def test_it_counts_the_jobs_that_went_before_the_one(late: int) -> None:
    async with served(Gateway(late)) as url:
        result = await measure(url, KEYS, "m", crowd=400, ones=2, output_tokens=1)
        assert 200 <= result["depth_before_the_first"] <= 400
        assert [one["jobs_before"] for one in result["ones"]] == [late, late]
        assert [one["wait_s"] for one in result["ones"]] == [0.01 * (late + 1)] * 2


async def test_a_crowd_that_is_refused_is_said() -> None:
    async with served(Gateway(0, full=True)) as url:
        with pytest.raises(ServerError, match="refused"):
            await measure(url, KEYS, "m", crowd=200, ones=1, output_tokens=1)
