"""What a key may use, as its requests are told, and across gateways."""

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from common.connection import Connection
from common.models import Limits
from common.settings import Settings
from common.store import Store
from common.views import Views
from gateway.limits import KeyLimits, duration
from gateway.settings import GatewaySettings
from tests.gateway.conftest import GENEROUS_S, chat, until
from tests.gateway.test_process import free_port, run, wait_for_line

MINUTE = {"requests": 3, "tokens": 50}


@pytest.fixture
async def limited(start: Any) -> AsyncIterator[Any]:
    async with start(key_limits="*:requests=3/tokens=50") as bench:
        yield bench


async def answered(bench: Any, body: Any = None) -> httpx.Response:
    asked = bench.post(body)
    await bench.unit.answer(await bench.unit.claim(), b"{}")
    answer: httpx.Response = await asked
    return answer


def told(answer: httpx.Response) -> dict[str, str]:
    prefix = "x-ratelimit-"
    return {
        name.removeprefix(prefix): value
        for name, value in answer.headers.items()
        if name.startswith(prefix)
    }


async def test_every_answer_says_what_is_left(limited: Any) -> None:
    first, second = told(await answered(limited)), told(await answered(limited))
    assert first.keys() == {
        f"{kind}-{name}" for kind in ("limit", "remaining", "reset") for name in MINUTE
    }
    assert (first["limit-requests"], first["limit-tokens"]) == ("3", "50")
    assert (first["remaining-requests"], second["remaining-requests"]) == ("2", "1")
    assert int(first["remaining-tokens"]) - int(second["remaining-tokens"]) > 0
    assert first["reset-requests"].startswith(("1m0", "59"))


async def test_one_request_too_many_is_a_429_that_says_when_to_ask_again(limited: Any) -> None:
    for _ in range(3):
        assert (await answered(limited)).status_code == 200
    refused = await limited.post()
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert told(refused)["remaining-requests"] == "0"
    assert await limited.views.job(refused.headers["x-adasplit-job"]) == {}


async def test_a_prompt_that_never_fits_is_not_to_be_tried_again(limited: Any) -> None:
    refused = await limited.post(chat("word " * 200))
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers


async def test_jobs_at_a_time_are_refused_until_one_has_ended(start: Any) -> None:
    async with start(key_limits="*:jobs=1") as bench:
        asked = bench.post()
        job = await bench.unit.claim()
        refused = await bench.post()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert told(refused) == {}
        await bench.unit.answer(job, b"{}")
        assert (await asked).status_code == 200
        assert (await answered(bench)).status_code == 200


async def test_a_key_without_limits_is_told_nothing(bench: Any) -> None:
    assert told(await answered(bench)) == {}


async def test_what_redis_forgot_counts_no_second_time(start: Any) -> None:
    async with start(key_limits="*:requests=1") as bench:
        asked = bench.post()
        job = (await bench.waiting_job())["id"]
        connection = bench.views._connection
        await connection.command("DEL", bench.views.keys.job(job))
        await bench.until(lambda: bench.views.job(job))
        while (claimed := await bench.unit.claim()).id != job:
            pass
        await bench.unit.answer(claimed, b"{}")
        assert (await asked).status_code == 200


def test_limits_are_read_by_name() -> None:
    limits = KeyLimits.parse("ann:jobs=2/tokens=9, *:requests=7")
    assert limits.of("ann") == Limits(jobs=2, tokens=9)
    assert limits.of("bob") == limits.of("") == Limits(requests=7)
    assert KeyLimits.parse("").of("ann") == Limits()


@pytest.mark.parametrize(
    "wrong", ["ann", "ann:8", "ann:jobs=0", "ann:jobs=-1", "ann:rpm=3", ":jobs=1"]
)
def test_limits_that_cannot_be_read_stop_the_start(wrong: str) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings(_env_file=None, key_limits=wrong)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.12, "120ms"), (1, "1s"), (1.5, "1.5s"), (60.25, "1m0.25s"), (360, "6m0s")],
)
def test_times_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# Across gateways


@contextmanager
def two_gateways(
    folder: Path, **settings: str
) -> Iterator[tuple[list[str], list["subprocess.Popen[str]"]]]:
    ports = [free_port() for _ in range(2)]
    both = [run(folder, "--port", str(port), **settings) for port in ports]
    try:
        assert all(wait_for_line(process, "started gateway") for process in both)
        yield [f"http://127.0.0.1:{port}" for port in ports], both
    finally:
        for process in both:
            process.kill()
            process.communicate()


async def test_two_gateways_let_exactly_as_many_through_as_the_key_may(
    tmp_path: Path, redis_url: str
) -> None:
    pool, asked, allowed = f"test-{uuid.uuid4().hex}", 80, 23
    connection = Connection.from_url(redis_url)
    settings = Settings(redis_url=redis_url, pool=pool, alive_s=300.0, _env_file=None)
    await Store(connection, settings).register("unit-1", {"url": "http://x", "models": "m"})
    views = Views(connection, settings)
    with two_gateways(
        tmp_path,
        redis_url=redis_url,
        pool=pool,
        alive_s="300",
        key_limits=f"*:requests={allowed}",
    ) as (urls, _):
        async with httpx.AsyncClient(timeout=GENEROUS_S) as client:
            tasks = [
                asyncio.create_task(client.post(f"{urls[at % 2]}/v1/chat/completions", json=chat()))
                for at in range(asked)
            ]

            async def refused() -> bool:
                return sum(task.done() for task in tasks) == asked - allowed

            await until(refused)
            assert {task.result().status_code for task in tasks if task.done()} == {429}
            assert await views.depth("short") == allowed
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    await connection.aclose()
