"""`python -m dispatcher` as a process: how it starts, stops, dies and is started again."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.dispatcher.conftest import LIMIT_S, Gateway, Pool, until
from tests.dispatcher.scripted import (
    DONE,
    USAGE,
    ScriptedUnit,
    at_once,
    begin_then_hang,
    event,
    hang,
    when_released,
)


class Processes:
    """Dispatchers as processes in a test's pool."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self.pool = pool
        self.folder = folder
        self.started: list[asyncio.subprocess.Process] = []

    async def start(
        self, unit: ScriptedUnit, name: str = "a", port: int = 0, **settings: Any
    ) -> asyncio.subprocess.Process:
        values = {
            "redis_url": self.pool.url,
            "pool": self.pool.name,
            "heartbeat_s": 0.2,
            "alive_s": 1.0,
            "lease_s": 1.0,
            "renew_s": 0.3,
            "probe_s": 0.2,
        } | settings
        environment = {f"ADASPLIT_{key.upper()}": str(value) for key, value in values.items()}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dispatcher", "--unit", name, "--url", unit.url),
            *("--port", str(port)),
            cwd=self.folder,
            env=dict(os.environ) | environment,
            stderr=asyncio.subprocess.PIPE,
        )
        self.started.append(process)
        return process

    async def running(
        self, unit: ScriptedUnit, name: str = "a", **settings: Any
    ) -> asyncio.subprocess.Process:
        """A process that is in the pool."""
        process = await self.start(unit, name, **settings)
        await until(lambda: self.pool.alive(name))
        return process

    async def kill(self, process: asyncio.subprocess.Process) -> None:
        process.kill()
        await process.wait()

    async def aclose(self) -> None:
        for process in self.started:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.fixture
async def processes(pool: Pool, tmp_path: Path) -> AsyncIterator[Processes]:
    made = Processes(pool, tmp_path)
    yield made
    await made.aclose()


async def test_sigterm_ends_it_with_0_after_its_jobs_and_without_a_traceback(
    pool: Pool, gateway: Gateway, processes: Processes
) -> None:
    unit = await pool.unit(when_released)
    process = await processes.running(unit)
    job = await gateway.submit()
    await until(lambda: unit.in_flight == 1)
    process.send_signal(signal.SIGTERM)

    async def left() -> bool:
        return not await pool.alive("a")

    await until(left)
    assert await pool.held("a") == [job]
    unit.release(job)
    assert (await gateway.received(job)).end["outcome"] == "ok"
    async with asyncio.timeout(LIMIT_S):
        _, said = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in said
    assert b" ERROR " not in said
    assert (await pool.views.pool()).units == ()


async def test_a_taken_port_is_one_line_and_exit_1(pool: Pool, processes: Processes) -> None:
    unit = await pool.unit()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await processes.start(unit, port=port)
        async with asyncio.timeout(LIMIT_S):
            _, said = await process.communicate()
    assert process.returncode == 1
    (line,) = said.decode().splitlines()
    assert line == f"dispatcher: cannot listen on 127.0.0.1:{port}: Address already in use"


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"redis_url": "http://127.0.0.1"}, 1, "dispatcher: not a Redis URL"),
        ({"renew_s": "soon"}, 2, "dispatcher: setting renew_s:"),
        ({"renew_s": 0.9}, 2, "renew_s must be less than half of lease_s"),
    ],
)
async def test_bad_settings_are_one_line(
    pool: Pool, processes: Processes, settings: dict[str, Any], code: int, words: str
) -> None:
    process = await processes.start(await pool.unit(), **settings)
    async with asyncio.timeout(LIMIT_S):
        _, said = await process.communicate()
    assert process.returncode == code
    (line,) = said.decode().splitlines()
    assert words in line


async def test_started_again_under_the_same_name_it_gives_back_what_it_held(
    pool: Pool, gateway: Gateway, processes: Processes
) -> None:
    unit = await pool.unit(hang)
    # The lease alone would hold the jobs back for ten minutes: only the restart lets them go on.
    first = await processes.running(unit, lease_s=600.0)
    jobs = await gateway.submit_many(3)
    await until(lambda: unit.in_flight == 3)
    await processes.kill(first)
    unit.answer = at_once
    await processes.running(unit, lease_s=600.0)
    for job in jobs:
        got = await gateway.received(job)
        assert (got.body, got.attempts) == (event(job) + USAGE + DONE, {2})
    assert await pool.held("a") == []


async def test_another_dispatcher_reclaims_what_a_killed_one_held(
    pool: Pool, gateway: Gateway, processes: Processes
) -> None:
    lost, kept = await pool.unit(begin_then_hang), await pool.unit(at_once)
    killed = await processes.running(lost)
    job = await gateway.submit()
    await gateway.begun(job)
    await pool.dispatcher(kept, "b", lease_s=1.0)
    await processes.kill(killed)
    got = await gateway.received(job)
    assert got.end["outcome"] == "ok"
    assert kept.jobs() == [job]
    # One attempt's bytes, whole; what the killed one had sent carries its own number.
    last = [part for part in got.parts if part.attempt == 2]
    assert [part.kind for part in last][0::2] == ["head", "end"]
    assert b"".join(p.content for p in last if p.kind == "chunk") == event(job) + USAGE + DONE
    assert got.parts[-1].attempt == 2
    assert (await pool.events(job))["reclaimed"] == 1

    async def nothing_left() -> bool:
        return await pool.held("a") == [] and not set((await pool.active("a")).values()) - {0}

    await until(nothing_left)


async def test_a_frozen_dispatcher_that_wakes_is_refused_and_aborts_its_calls(
    pool: Pool, gateway: Gateway, processes: Processes
) -> None:
    frozen_unit, other_unit = await pool.unit(begin_then_hang), await pool.unit(when_released)
    frozen = await processes.running(frozen_unit)
    job = await gateway.submit()
    await gateway.begun(job)
    # Nobody takes the job back from it, however late its renewals are.
    await pool.dispatcher(other_unit, "b", lease_s=60.0)
    frozen.send_signal(signal.SIGSTOP)
    await until(lambda: other_unit.jobs() == [job])
    frozen.send_signal(signal.SIGCONT)
    await until(lambda: frozen_unit.aborted[job] == 1)
    other_unit.release(job)
    got = await gateway.received(job)
    assert (got.end["outcome"], got.parts[-1].attempt) == ("ok", 2)
    first = [part.content for part in got.parts if part.attempt == 1 and part.kind == "chunk"]
    assert first == [event("first")]
