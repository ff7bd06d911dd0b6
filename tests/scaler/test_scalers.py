"""Real scalers on a real server: who leads, and what no scaler may do."""

import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.connection import Connection
from common.models import NewJob
from common.store import Store
from common.views import Views
from scaler.settings import ScalerSettings

StartScaler = Callable[..., Any]
Eventually = Callable[..., Awaitable[float]]

# By design within 3 s; five times that, for a machine that is busy with other tests.
TAKEOVER_S = 5 * 3.0


async def leading_pid(connection: Connection, store: Store) -> int | None:
    holder = await connection.command("GET", store.keys.leader)
    return int(holder.decode().split(":")[-2]) if holder else None


async def submit_long(store: Store, count: int) -> list[str]:
    jobs = [f"job-{number}" for number in range(count)]
    for job in jobs:
        await store.submit(NewJob(job, "long", 9000, "gw", "/v1/completions", False, b"{}"))  # noqa: FBT003  # fields in order
    return jobs


async def roles(views: Views) -> list[str]:
    return [unit.role for unit in (await views.pool()).units]


async def flips(views: Views) -> list[dict[str, str]]:
    return [event for event in await views.events() if event["event"] == "flipped"]


async def test_a_standby_leads_within_3_s_of_the_leaders_death(
    start_scaler: StartScaler,
    connection: Connection,
    store: Store,
    eventually: Eventually,
    settings: ScalerSettings,
) -> None:
    first = start_scaler()
    await eventually(lambda: leads(connection, store, first))
    second = start_scaler()
    # The standby has asked, and was told who leads, before the leader dies.
    await eventually(lambda: stands_by(second))
    first.process.kill()
    first.process.wait()
    # The two times that it consists of: until the dead one's lock is gone, and until the next try.
    left_ms = await connection.command("PTTL", store.keys.leader)
    assert left_ms <= settings.leader_s * 1000
    assert settings.leader_s + settings.lead_every_s < 3
    assert await eventually(lambda: leads(connection, store, second)) < TAKEOVER_S


async def leads(connection: Connection, store: Store, scaler: Any) -> bool:
    assert scaler.process.poll() is None
    return await leading_pid(connection, store) == scaler.process.pid


async def stands_by(scaler: Any) -> bool:
    assert scaler.process.poll() is None
    return "leads now" in scaler.log.read_text()


async def test_a_scaler_that_is_told_to_stop_gives_up_the_leadership(
    start_scaler: StartScaler,
    connection: Connection,
    store: Store,
    eventually: Eventually,
) -> None:
    first = start_scaler(ADASPLIT_LEADER_S="60", ADASPLIT_LEAD_EVERY_S="0.2")
    await eventually(lambda: leads(connection, store, first))
    second = start_scaler()
    first.process.terminate()
    # With a lock of a minute, only its resignation lets the other lead.
    await eventually(lambda: leads(connection, store, second))
    assert first.process.wait(30) == 0


async def test_a_pool_that_starts_short_gets_one_long_unit(
    units: list[str],
    start_scaler: StartScaler,
    views: Views,
    eventually: Eventually,
) -> None:
    start_scaler()
    await eventually(lambda: one_long(views))
    assert len(await flips(views)) == 1


async def one_long(views: Views) -> bool:
    return (await roles(views)).count("long") == 1


async def test_backlog_moves_units_there_and_back_and_never_two_within_a_cooldown(
    units: list[str],
    start_scaler: StartScaler,
    connection: Connection,
    store: Store,
    views: Views,
    settings: ScalerSettings,
    eventually: Eventually,
) -> None:
    """Two scalers, of which the leader is killed on the way."""
    scalers = {scaler.process.pid: scaler.process for scaler in (start_scaler(), start_scaler())}
    jobs = await submit_long(store, 15)
    await eventually(lambda: one_long(views))
    leader = await leading_pid(connection, store)
    assert leader in scalers
    scalers[leader].kill()
    await eventually(lambda: all_but_one_long(views))
    for job in jobs:
        await store.cancel(job, "long", "gw", "enough")
    await eventually(lambda: one_long(views))

    done = await flips(views)
    assert [flip["to"] for flip in done] == ["long"] * 4 + ["short"] * 3
    times_ms = [int(flip["at_ms"]) for flip in done]
    gaps_ms = [later - earlier for earlier, later in pairwise(times_ms)]
    assert min(gaps_ms) >= settings.qhap_cooldown_s * 1000
    assert min(short_units(done, of=len(units))) >= 1


async def all_but_one_long(views: Views) -> bool:
    return (await roles(views)).count("short") == 1


def short_units(done: list[dict[str, str]], of: int) -> list[int]:
    """How many Short units there were after each flip."""
    counts = [of]
    for flip in done:
        counts.append(counts[-1] + (1 if flip["to"] == "short" else -1))
    return counts


async def test_live_overrides_hold_and_a_wrong_one_stops_nothing(
    units: list[str],
    start_scaler: StartScaler,
    connection: Connection,
    store: Store,
    views: Views,
    eventually: Eventually,
) -> None:
    await connection.command(
        "HSET", store.keys.policy, "qhap_scale_up_above", "1", "qhap_min_short", "no number"
    )
    start_scaler()
    await submit_long(store, 2)
    await eventually(lambda: all_but_one_long(views))


async def test_the_leaders_pages_show_the_pool(
    units: list[str],
    start_scaler: StartScaler,
    store: Store,
    views: Views,
    eventually: Eventually,
    settings: ScalerSettings,
) -> None:
    scaler = start_scaler()
    await eventually(lambda: one_long(views))
    await submit_long(store, 3)
    pool = f'pool="{settings.pool}"'
    wanted = {
        f'adasplit_flips_total{{{pool},to="long"}} 1.0',
        f"adasplit_scaler_leader{{{pool}}} 1.0",
        f'adasplit_queue_depth_jobs{{class="long",{pool}}} 3.0',
        f'adasplit_units{{{pool},role="short"}} 4.0',
        f'adasplit_units{{{pool},role="long"}} 1.0',
    }
    await eventually(lambda: shows(scaler, wanted))
    assert (await get(scaler, "/readyz")).is_success


async def test_a_standby_shows_no_pool(
    units: list[str],
    start_scaler: StartScaler,
    connection: Connection,
    store: Store,
    eventually: Eventually,
) -> None:
    first = start_scaler()
    await eventually(lambda: leads(connection, store, first))
    second = start_scaler()
    await eventually(lambda: stands_by(second))
    assert (await get(second, "/readyz")).is_success
    assert "adasplit_units{" not in (await get(second, "/metrics")).text


async def test_a_cooldown_that_an_operator_sets_holds_and_refusals_are_counted(
    units: list[str],
    start_scaler: StartScaler,
    connection: Connection,
    store: Store,
    views: Views,
    eventually: Eventually,
    settings: ScalerSettings,
) -> None:
    await connection.command("SET", store.keys.cooldown, "held")
    scaler = start_scaler()
    name = f'adasplit_flips_refused_total{{pool="{settings.pool}",reason="cooldown"}} '
    await eventually(lambda: counts(scaler, name))
    assert await flips(views) == []
    await connection.command("DEL", store.keys.cooldown)
    await eventually(lambda: one_long(views))


async def get(scaler: Any, page: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.get(f"{scaler.url}{page}")


async def shows(scaler: Any, lines: set[str]) -> bool:
    return lines <= set((await get(scaler, "/metrics")).text.splitlines())


async def counts(scaler: Any, name: str) -> bool:
    try:
        return name in (await get(scaler, "/metrics")).text
    except httpx.ConnectError:
        return False


@pytest.mark.parametrize(
    ("environment", "says", "code"),
    [
        ({"ADASPLIT_REDIS_URL": "what://ever"}, "not a Redis URL", 2),
        ({"ADASPLIT_QHAP_MIN_SHORT": "0"}, "qhap_min_short", 2),
    ],
)
def test_a_scaler_that_cannot_start_says_so_in_one_line(
    settings: ScalerSettings, tmp_path: Path, environment: dict[str, str], says: str, code: int
) -> None:
    given = {"ADASPLIT_REDIS_URL": settings.redis_url} | environment
    done = run_scaler(given, tmp_path, port=0)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert says in done.stderr


def test_a_scaler_whose_port_is_taken_says_so_in_one_line(
    settings: ScalerSettings, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_scaler({"ADASPLIT_REDIS_URL": settings.redis_url}, tmp_path, port)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def run_scaler(
    environment: dict[str, str], folder: Path, port: int
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scaler", "--port", str(port)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def test_a_scaler_that_starts_before_redis_waits_for_it(
    start_scaler: StartScaler, settings: ScalerSettings, unused_port: int, eventually: Eventually
) -> None:
    scaler = start_scaler(ADASPLIT_REDIS_URL=f"redis://127.0.0.1:{unused_port}/0")
    await eventually(lambda: not_ready(scaler))
    assert scaler.process.poll() is None


async def not_ready(scaler: Any) -> bool:
    try:
        return (await get(scaler, "/readyz")).status_code == 503
    except httpx.ConnectError:
        return False


async def test_an_adaptive_scaler_has_a_stolen_job_handed_back(
    start_scaler: StartScaler,
    store: Store,
    views: Views,
    units: list[str],
    settings: ScalerSettings,
    eventually: Eventually,
) -> None:
    at_once = settings.model_copy(update={"rasp_steal_cooldown_s": 0.0})
    for number, name in enumerate(units):
        long = NewJob(f"long-{number}", "long", 90_000, "gw", "/v1/completions", True, b"{}")  # noqa: FBT003  # fields in order
        await store.submit(long)
        assert len((await store.claim(name, at_once)).jobs) == 1
    await store.submit(NewJob("chat", "short", 100, "gw", "/v1/completions", True, b"{}"))  # noqa: FBT003  # fields in order
    scaler = start_scaler(ADASPLIT_POLICY="adaptive")

    async def revoked() -> bool:
        return any(event["event"] == "revoked" for event in await views.events())

    await eventually(revoked)
    event = next(event for event in await views.events() if event["event"] == "revoked")
    assert "a short job has waited" in event["reason"]
    wakes = [await store.read_wakes(name, 0.01) for name in units]
    asked = {wake.job for each in wakes for wake in each if wake.kind == "revoke"}
    assert event["job"] in asked
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"{scaler.url}/metrics")).text
    assert 'adasplit_revocations_total{outcome="ok"' in page
    # The page shows what a look found, a moment later.
    idle = f'adasplit_steal_idle_seconds{{pool="{settings.pool}"}} 2.0'
    await eventually(lambda: shows(scaler, {idle}))
    assert "adasplit_steal_largest_prompt_tokens" in (await get(scaler, "/metrics")).text
