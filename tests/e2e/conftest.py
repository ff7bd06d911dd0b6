"""The whole system on one machine, as `adasplit up` starts it, with two small units."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from common.connection import Connection
from common.settings import Settings
from common.views import Views
from tests.cli.conftest import Up, end, start_up
from tests.e2e.redis_sets import Cluster, SentinelSet, running


@contextmanager
def redis_of(kind: str, folder: Path) -> Iterator[list[str]]:
    """The options of `adasplit up` that name a Redis of a kind; the embedded one needs none."""
    if kind == "embedded":
        yield []
    elif kind == "cluster":
        with running(Cluster(), folder) as masters:
            yield ["--redis-url", masters.url]
    else:
        with running(SentinelSet(), folder) as watched:
            yield ["--redis-url", watched.url]


@pytest.fixture(scope="module", params=["embedded", "cluster", "sentinel"])
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    with redis_of(request.param, tmp_path_factory.mktemp("redis")) as named:
        one = start_up(
            tmp_path_factory.mktemp("system"),
            *("--units", "2", "--gateways", "2", *named),
            ADASPLIT_WORKER_CONCURRENCY_LIMIT="4",
        )
        try:
            one.wait_ready()
            yield one
        finally:
            end(one)


@pytest.fixture
async def client(system: Up) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{system.url}/v1", api_key="none", timeout=120, max_retries=0
    ) as one:
        yield one


@pytest.fixture
def redis_url(system: Up) -> str:
    """The system's own Redis, as `adasplit up` notes it for other commands."""
    note = next(Path(system.environment["XDG_RUNTIME_DIR"]).rglob("up.json"))
    return str(json.loads(note.read_text())["redis_url"])


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[Connection]:
    one = Connection.from_url(redis_url)
    yield one
    await one.aclose()


@pytest.fixture
def views(connection: Connection) -> Views:
    return Views(connection, Settings(_env_file=None))
