"""What docs/operations.md tells people to type into redis-cli, typed beside a live pool."""

import re
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from common.connection import Connection
from common.models import Lease, NewJob
from common.settings import Settings
from common.store import Store
from tests.architecture.conftest import ROOT

_SECTION = re.compile(r"^## Inspecting$(.+?)^## ", re.MULTILINE | re.DOTALL)
_DOCUMENTED = re.compile(r"^\$ r (.+)\n((?:(?!\$ |```).*\n)+)", re.MULTILINE)
_WORD = re.compile(r'"([a-z_-]+)"')
_VALUES = {
    "gpu-bad",
    "requeued",
    "units",
    "long",
    "short",
    "ok",
    "finished",
    "running",
    "own",
    "up",
}
"""Words of the outputs that are not names of fields: a live pool may well say others."""


def documented() -> list[tuple[str, str]]:
    """Each command of the section with the output that stands below it."""
    section = _SECTION.search((ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))
    assert section is not None
    return _DOCUMENTED.findall(section[1])


@pytest.fixture
def settings(servers: Callable[[str], Any]) -> Settings:
    return Settings(
        _env_file=None,
        redis_url=servers("valkey").url,
        pool=f"t-{uuid4().hex[:12]}",
        max_attempts=1,
        qhap_cooldown_s=0,
    )


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[dict[str, str]]:
    """A pool in which everything is there to be seen; answers what the docs call otherwise."""
    connection = Connection.from_url(settings.redis_url)
    store = Store(connection, settings)
    job = NewJob("job-1", "long", 9000, "gw", "/v1/completions", stream=True, body=b'{"n": 1}')
    await store.beat("gw")
    for name in ("unit-1", "unit-2", "unit-3"):
        await store.register(name, {"url": "http://127.0.0.1:1", "limit": 8, "health": "up"})
    await store.lead("scaler-1", 60)
    assert await store.flip("scaler-1", "unit-1", "long", "a test") == "OK"
    for number in range(1, 20):
        assert (await store.submit(replace(job, id=f"job-{number}"))).status == "accepted"
    held = (await store.claim("unit-1")).jobs
    assert len(held) == 8

    async def give_back(place: int, **more: Any) -> str:
        lease = Lease(held[place].id, 1, "long")
        return await store.requeue("unit-1", lease, "gw", "unit failed", **more)

    assert await give_back(0) == "DEAD"
    assert await give_back(1, spared=True) == "OK"
    yield {
        "adasplit:{default}": store.keys.prefix,
        "job-0f9fb40f91d25cecd8afbd1a5ef820c3": held[2].id,
        "job-e77d70c14e6adec638060bbaa61f95ae": held[0].id,
    }
    await connection.aclose()


def test_there_is_something_to_type() -> None:
    commands = [command.split()[0] for command, _ in documented()]
    assert len(commands) > 15
    assert {"ZCARD", "XPENDING", "ZRANGE", "MGET", "HGETALL", "XREVRANGE"} <= set(commands)


def test_each_documented_command_shows_what_it_is_said_to_show(
    pool: dict[str, str], settings: Settings
) -> None:
    redis_cli = shutil.which("redis-cli")
    if redis_cli is None:
        pytest.skip("no redis-cli: apt-get install redis-tools")
    for command, output in documented():
        typed = command
        for said, here in pool.items():
            typed = typed.replace(said, here)
        done = subprocess.run(
            [redis_cli, "--no-raw", "-u", settings.redis_url, *shlex.split(typed)],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        shown = done.stdout
        assert not re.search(r"\(error\)|\(nil\)|\(empty|\(integer\) 0$", shown), (command, shown)
        assert shown.split()[0][0] == output.split()[0][0], (command, shown)
        fields = set(_WORD.findall(output)) - _VALUES
        if "events" not in command:
            assert fields <= set(_WORD.findall(shown)), (command, shown)
