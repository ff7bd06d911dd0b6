"""The users of `deploy/redis/users.acl` can do their own work, and not another's."""

import asyncio
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from common.connection import Connection
from common.models import Prefilling
from common.store import Store
from common.views import Views
from scaler.adjuster import Adjuster
from scaler.revoker import Revoker
from scaler.settings import ScalerSettings
from scaler.surveyor import Surveyor
from tests.chaos.load import MODEL
from tests.cli.conftest import environment_in, run_cli, wait_for
from tests.conftest import BINARIES, DIES_WITH_ITS_PARENT, free_ports

GENEROUS_S = 60.0
ACL = Path(__file__).resolve().parents[2] / "deploy" / "redis" / "users.acl"
ROLES = ("gateway", "dispatcher", "scaler", "adaptive", "dashboard", "operator")
P = "adasplit:{default}:"


@dataclass
class Fleet:
    """One of each process, each with its own user; `watcher` is an administrator."""

    folder: Path
    redis_port: int
    gateway_port: int
    unit_port: int
    dashboard_port: int
    watcher: Redis
    stack: ExitStack

    def url(self, role: str) -> str:
        return f"redis://{role}:password-of-{role}@127.0.0.1:{self.redis_port}/0"

    def client(self, role: str) -> Redis:
        return Redis.from_url(self.url(role), protocol=2)

    def denied(self) -> list[Any]:
        return [(entry["username"], entry["object"]) for entry in self.watcher.acl_log()]

    def start(self, name: str, *command: str, **settings: str) -> "subprocess.Popen[bytes]":
        given = {f"ADASPLIT_{key.upper()}": each for key, each in settings.items()}
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", DIES_WITH_ITS_PARENT, *command],
                env=environment_in(self.folder) | given, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def post(self, **fields: Any) -> httpx.Response:
        body = {"model": MODEL, "prompt": "x", "max_tokens": 3} | fields
        url = f"http://127.0.0.1:{self.gateway_port}/v1/completions"
        return httpx.post(url, json=body, timeout=GENEROUS_S)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("acl")
    users = ACL.read_text()
    for role in ROLES:
        digest = hashlib.sha256(f"password-of-{role}".encode()).hexdigest()
        users = users.replace(f"{role.upper()}_SHA256", digest)
    (folder / "users.acl").write_text(users + "user watcher on >watching ~* &* +@all\n")
    redis_port, gateway, unit, dispatcher, scaler, dashboard = free_ports(6)
    with ExitStack() as stack:
        watcher = Redis.from_url(f"redis://watcher:watching@127.0.0.1:{redis_port}", protocol=2)
        stack.enter_context(closing(watcher))
        one = Fleet(folder, redis_port, gateway, unit, dashboard, watcher, stack)
        flags = ("--port", str(redis_port), "--save", "", "--aclfile", str(folder / "users.acl"))
        one.start("redis", BINARIES["valkey"], *flags)
        wait_for(lambda: answers(watcher), GENEROUS_S, "Redis answers")
        python = (sys.executable, "-m")
        one.start("unit", *python, "simulator", "--port", str(unit), "--speed", "20")
        address = ("--unit", "unit-1", "--url", f"http://127.0.0.1:{unit}")
        command = (*python, "dispatcher", *address, "--port", str(dispatcher))
        one.start("dispatcher", *command, redis_url=one.url("dispatcher"))
        command = (*python, "scaler", "--port", str(scaler))
        one.start("scaler", *command, redis_url=one.url("scaler"), qhap_interval_s="0.1")
        command = (*python, "gateway", "--port", str(gateway))
        limits = "*:jobs=1000/requests=100000/tokens=1000000000"
        one.start("gateway", *command, redis_url=one.url("gateway"), key_limits=limits)
        command = (*python, "dashboard", "--port", str(dashboard))
        one.start("dashboard", *command, redis_url=one.url("dashboard"))
        wait_for(lambda: ready(gateway), GENEROUS_S, "the gateway is ready")
        wait_for(lambda: ready(dashboard), GENEROUS_S, "the dashboard is ready")
        yield one


def answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False


def ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def test_each_process_works_with_the_rights_of_its_role(fleet: Fleet) -> None:
    """All that happens to a job, and nothing on Redis's list of what was denied."""
    assert fleet.post().status_code == 200
    assert fleet.post(stream=True).text.endswith("data: [DONE]\n\n")
    assert fleet.post(prompt="word " * 6000).status_code == 200
    base = f"http://127.0.0.1:{fleet.gateway_port}"
    # A client that leaves: a job that runs is aborted.
    body = {"model": MODEL, "prompt": "x", "max_tokens": 5000, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", f"{base}/v1/completions", json=body, timeout=GENEROUS_S) as answer:
        job = answer.headers["x-adasplit-job"]
        chunks = answer.iter_raw()
        next(chunks)
        assert httpx.get(f"{base}/v1/jobs/{job}").json()["state"] == "running"
        # A group that is gone is made anew, and what runs stays where it runs.
        fleet.watcher.xgroup_destroy(f"{P}queue:short", "units")
        assert fleet.post().status_code == 200
        assert httpx.delete(f"{base}/v1/jobs/{job}").status_code == 200
    assert httpx.get(f"{base}/v1/state").json()["units"]["unit-1"]["alive"]
    # A job that waits, behind a unit that takes none: its position, and its cancelling.
    operator = environment_in(fleet.folder) | {"ADASPLIT_REDIS_URL": fleet.url("operator")}
    assert run_cli(operator, "units", "drain", "unit-1").returncode == 0
    with httpx.Client(timeout=0.5) as client, pytest.raises(httpx.ReadTimeout):
        client.post(f"{base}/v1/completions", json={"model": MODEL, "prompt": "x"})
    assert run_cli(operator, "units", "resume", "unit-1").returncode == 0
    for command in (("units",), ("status", "--redis-url", fleet.url("operator")), ("explain", job)):
        done = run_cli(operator, *command)
        assert done.returncode == 0, done.stderr
    assert fleet.post().status_code == 200
    assert fleet.denied() == []


async def test_a_scaler_decides_by_the_adaptive_policy_with_the_rights_of_its_role(
    fleet: Fleet,
) -> None:
    fleet.watcher.acl_log_reset()
    settings = ScalerSettings(_env_file=None, policy="adaptive")
    connection = Connection.from_url(fleet.url("adaptive"))
    store, views = Store(connection, settings), Views(connection, settings)
    revoker, adjuster = Revoker(store, "other", "default"), Adjuster(store, "other")
    async with aclosing(connection):
        surveyor = Surveyor(views)
        seen = await surveyor.look(await views.tally(), settings)
        await revoker.step(surveyor, settings)
        await adjuster.step(seen.view, settings)
        assert await store.adjust("other", 1.0, 1) is False
        # Another leads, which is found out after all keys were named.
        running = Prefilling("unit-1", "long", 1, 0, streams=True, job="job-none", attempt=1)
        assert await store.revoke("other", running, 1, "test") == "NOT_LEADER"
        # One that waits: what is next is read out of its entry and its job.
        operator = environment_in(fleet.folder) | {"ADASPLIT_REDIS_URL": fleet.url("operator")}
        assert run_cli(operator, "units", "drain", "unit-1").returncode == 0
        with ThreadPoolExecutor(1) as client:
            asked = client.submit(fleet.post, prompt="word " * 6000)
            await next_long(views, waits=True)
            assert run_cli(operator, "units", "resume", "unit-1").returncode == 0
            await next_long(views, waits=False)
            assert asked.result().status_code == 200
    assert fleet.denied() == []


async def next_long(views: Views, *, waits: bool) -> None:
    async with asyncio.timeout(GENEROUS_S):
        while bool((await views.survey(["unit-1"])).next_long_tokens) != waits:  # noqa: ASYNC110  # Redis sets no event of ours
            await asyncio.sleep(0.02)


def test_a_dashboard_looks_and_presses_with_the_rights_of_its_role(fleet: Fleet) -> None:
    fleet.watcher.acl_log_reset()
    base = f"http://127.0.0.1:{fleet.dashboard_port}"
    operator = environment_in(fleet.folder) | {"ADASPLIT_REDIS_URL": fleet.url("operator")}
    with httpx.Client(base_url=base, timeout=GENEROUS_S) as rq, ThreadPoolExecutor(1) as client:
        assert rq.get("/live.json").json()["now"]["sight"] is not None
        # A job that waits is deleted.
        assert run_cli(operator, "units", "drain", "unit-1").returncode == 0
        asked = client.submit(fleet.post)
        wait_for(lambda: ids(rq, "queued"), GENEROUS_S, "the job waits")
        (waiting,) = ids(rq, "queued")
        assert rq.post(f"/rq/job/{waiting}/delete").json() == {"status": "OK"}
        assert asked.result().status_code >= 400
        assert run_cli(operator, "units", "resume", "unit-1").returncode == 0
        # A job that is dead runs again.
        faults = f"http://127.0.0.1:{fleet.unit_port}/simulator/faults"
        httpx.post(faults, json={"kind": "status", "status": 500}).raise_for_status()
        assert fleet.post().status_code == 502
        httpx.delete(faults).raise_for_status()
        wait_for(lambda: ids(rq, "failed"), GENEROUS_S, "the job is dead")
        (dead,) = ids(rq, "failed")
        assert rq.post(f"/rq/job/{dead}/requeue").json() == {"status": "OK"}
        wait_for(lambda: f"{dead}-again1" in ids(rq, "finished"), GENEROUS_S, "it ran again")
    assert fleet.denied() == []


def ids(rq: httpx.Client, place: str) -> list[str]:
    page = rq.get(f"/rq/0/data/jobs/short/{place}/100/asc/1.json").json()
    return [job["id"] for job in page["jobs"]]


FORBIDDEN = [
    *[(role, command) for role in ROLES for command in (
        "FLUSHALL", "FLUSHDB", f"KEYS {P}*", "SCAN 0", "CONFIG GET *", "SHUTDOWN", "ACL LIST",
        "MONITOR", "SAVE", "CLIENT LIST", "SCRIPT FLUSH", "REPLICAOF NO ONE",
        "GET adasplit:{other}:role:unit-1", "SET adasplit:{other}:bytes 1", "GET elsewhere",
        "PUBLISH channel x", "MIGRATE h 1 k 0 1", "RENAME a b", "INFO",
    )],
    *[("gateway", command) for command in (
        f"SET {P}role:unit-1 long", f"HSET {P}unit:unit-1 url http://evil", f"DEL {P}dead",
        f"SET {P}scaler:leader me", f"ZADD {P}leases:unit-1 1 x", f"HSET {P}active:unit-1 short 0",
    )],
    *[("dispatcher", command) for command in (
        f"SET {P}scaler:leader me", f"HSET {P}rate:ann requests 0",
    )],
    *[("scaler", command) for command in (
        f"HGETALL {P}job:job-1", f"XADD {P}queue:short * a b", f"XREAD STREAMS {P}reply:g 0",
        f"HSET {P}policy qhap_min_short 0",
    )],
    *[("adaptive", command) for command in (
        f"XADD {P}queue:short * a b", f"XREAD STREAMS {P}reply:g 0",
        f"HSET {P}policy qhap_min_short 0", f"ZADD {P}leases:unit-1 1 x",
    )],
    *[("dashboard", command) for command in (
        f"SET {P}role:unit-1 long", f"HSET {P}unit:unit-1 url http://evil", "HSET elsewhere a b",
        f"SET {P}scaler:leader me", f"ZADD {P}leases:unit-1 1 x", f"HSET {P}active:unit-1 short 0",
    )],
]  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_no_role_does_what_is_not_its_own(fleet: Fleet, role: str) -> None:
    done = []
    with closing(fleet.client(role)) as client:
        for command in (command for named, command in FORBIDDEN if named == role):
            words = command.split()
            if words[0] == "EVAL":
                words = ["EVAL", "return 0", "0"]
            try:
                client.execute_command(*words)
            except NoPermissionError:
                continue
            done.append(command)
    assert done == []
    fleet.watcher.acl_log_reset()


def test_nobody_enters_without_a_password(fleet: Fleet) -> None:
    nobody = Redis(port=fleet.redis_port, protocol=2)
    with closing(nobody), pytest.raises(AuthenticationError):
        nobody.ping()


def test_each_role_stands_in_the_docs() -> None:
    users = re.findall(r"^user (\w+) on", ACL.read_text(), re.MULTILINE)
    assert tuple(users) == ROLES
    docs = (ACL.parents[2] / "docs" / "security.md").read_text()
    assert all(f"`{role}`" in docs for role in ROLES)
