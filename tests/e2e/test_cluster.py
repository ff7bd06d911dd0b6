"""Three pools on the three masters of a Redis Cluster, and a slot that moves under load."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.connection import Connection
from common.settings import Settings
from common.views import Views
from tests.cli.conftest import Up, alive, end, start_up
from tests.e2e.redis_sets import Cluster, running, slot_of
from tests.e2e.steady import Steady
from tests.e2e.test_openai import settled

CLIENTS = 4


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(Cluster(), tmp_path_factory.mktemp("masters")) as one:
        yield one


@pytest.fixture(scope="module")
def pools(masters: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Up]]:
    """A gateway, a scaler, a dispatcher and its unit for each of three pools."""
    started: dict[str, Up] = {}
    try:
        for pool in masters.pools():
            started[pool] = start_up(
                tmp_path_factory.mktemp(pool),
                *("--units", "1", "--redis-url", masters.url),
                ADASPLIT_POOL=pool,
                # The one unit is Short: it is to take long jobs soon.
                ADASPLIT_STARVATION_BOUND_S="0.5",
            )
            started[pool].wait_ready()
        yield started
    finally:
        for one in started.values():
            end(one)


async def outcomes_on_record(url: str, pool: str, load: Steady) -> set[int]:
    """How many outcomes the jobs of a load have, once nothing waits or runs any more."""
    async with contextlib.aclosing(Connection.from_url(url)) as connection:
        views = Views(connection, Settings(_env_file=None, pool=pool))
        await settled(views)
        events = await views.events(count=20_000)
    ends = Counter(event["job"] for event in events if event["event"] == "finished")
    return {ends[job] for job in load.jobs}


def no_process_died(up: Up) -> None:
    assert all(alive(one.pid) for one in up.family), up.said
    assert "starting it again" not in up.said
    logs = list(Path(up.environment["XDG_STATE_HOME"]).rglob("*.log"))
    assert logs
    assert [log for log in logs if "Traceback" in log.read_text(errors="replace")] == []


async def test_pools_on_three_masters_serve_at_once_and_keep_to_their_own(
    masters: Cluster, pools: dict[str, Up]
) -> None:
    loads = {pool: Steady(up.url) for pool, up in pools.items()}
    async with asyncio.TaskGroup() as group:
        for load in loads.values():
            group.create_task(load.run(CLIENTS))
        for load in loads.values():
            await load.more(25)
        for load in loads.values():
            load.stop()
    for (pool, load), node in zip(loads.items(), masters.nodes, strict=True):
        assert set(load.seen) == {"ok"}
        assert await outcomes_on_record(masters.url, pool, load) == {1}
        assert masters.prefixes(node) == {pool}
        no_process_died(pools[pool])


async def test_a_pool_whose_slot_moves_to_another_master_is_only_slowed(
    masters: Cluster, pools: dict[str, Up]
) -> None:
    pool, up = next(iter(pools.items()))
    source, target, _ = masters.nodes
    load = Steady(up.url)
    loop = asyncio.get_running_loop()

    def pause() -> None:
        """Some requests come while the slot is neither here nor there."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.5), loop).result()

    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(CLIENTS))
        await load.more(10)
        await asyncio.to_thread(masters.move, slot_of(pool), source, target, pause)
        await load.more(25)
        load.stop()
    assert set(load.seen) == {"ok"}
    assert await outcomes_on_record(masters.url, pool, load) == {1}
    assert pool not in masters.prefixes(source)
    assert pool in masters.prefixes(target)
    no_process_died(up)
