"""A real server, pools of their own, and scalers as processes."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from common.connection import Connection
from common.store import Store
from common.views import Views
from scaler.settings import ScalerSettings
from tests.conftest import free_ports

Fact = Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Scaler:
    """A scaler as a process, where it logs, and where its pages are."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str


@pytest.fixture
def settings(servers: Any) -> ScalerSettings:
    """A pool of the test's own, in which decisions come fast."""
    return ScalerSettings(
        _env_file=None,
        redis_url=servers("valkey").url,
        pool=f"t-{uuid4().hex[:12]}",
        qhap_interval_s=0.1,
        qhap_cooldown_s=0.6,
    )


@pytest.fixture
async def connection(settings: ScalerSettings) -> AsyncIterator[Connection]:
    connection = Connection.from_url(settings.redis_url)
    yield connection
    await connection.aclose()


@pytest.fixture
def store(connection: Connection, settings: ScalerSettings) -> Store:
    return Store(connection, settings)


@pytest.fixture
def views(connection: Connection, settings: ScalerSettings) -> Views:
    return Views(connection, settings)


@pytest.fixture
async def units(store: Store) -> AsyncIterator[list[str]]:
    """Five units whose hearts beat during the test."""
    names = [f"unit-{number}" for number in range(1, 6)]

    async def beat() -> None:
        while True:
            for name in names:
                await store.register(name, {"url": "http://127.0.0.1:1"})
            await asyncio.sleep(0.5)  # a heartbeat's own rhythm

    for name in names:
        await store.register(name, {"url": "http://127.0.0.1:1"})
    beating = asyncio.create_task(beat())
    yield names
    beating.cancel()


@pytest.fixture
def start_scaler(settings: ScalerSettings, tmp_path: Path) -> Iterator[Callable[..., Scaler]]:
    """Start a real scaler of the test's pool on a free port."""
    started: list[Scaler] = []

    def start(**more: str) -> Scaler:
        (port,) = free_ports(1)
        path = tmp_path / f"scaler-{len(started)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "scaler", "--port", str(port)],
                env=os.environ | _environment(settings) | more,
                cwd=tmp_path,
                stderr=log,
            )
        started.append(Scaler(process, path, f"http://127.0.0.1:{port}"))
        return started[-1]

    yield start
    for scaler in started:
        scaler.process.kill()
        scaler.process.wait()


def _environment(settings: ScalerSettings) -> Mapping[str, str]:
    names = ("redis_url", "pool", "qhap_interval_s", "qhap_cooldown_s")
    return {f"ADASPLIT_{name.upper()}": str(getattr(settings, name)) for name in names}


@pytest.fixture
def eventually() -> Callable[[Fact], Awaitable[float]]:
    """Wait for a fact; answers how long it took, in seconds."""

    async def wait(fact: Fact, limit_s: float = 20.0) -> float:
        started_s = time.monotonic()
        while not await fact():
            if time.monotonic() - started_s > limit_s:
                raise TimeoutError(f"not within {limit_s} s")
            await asyncio.sleep(0.02)  # between two looks
        return time.monotonic() - started_s

    return wait
