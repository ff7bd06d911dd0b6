"""A master that dies under load: its replica takes over, clients see delay and nothing else."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import Up, end, start_up
from tests.e2e.redis_sets import Node, SentinelSet, running, wait_for
from tests.e2e.steady import Steady
from tests.e2e.test_cluster import no_process_died, outcomes_on_record

CLIENTS = 6


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelSet]:
    with running(SentinelSet(), tmp_path_factory.mktemp("watched")) as one:
        yield one


@pytest.fixture(scope="module")
def up(watched: SentinelSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    one = start_up(
        tmp_path_factory.mktemp("system"),
        *("--units", "2", "--redis-url", watched.url),
        # New requests wait for the failover, instead of being told to come back.
        ADASPLIT_REDIS_PATIENCE_S="60",
    )
    try:
        one.wait_ready()
        yield one
    finally:
        end(one)


async def test_a_failover_delays_requests_and_loses_none(watched: SentinelSet, up: Up) -> None:
    load = Steady(up.url)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(CLIENTS))
        await load.more(20)
        old = watched.master
        await asyncio.to_thread(old.kill)
        await asyncio.to_thread(wait_for, lambda: watched.master is not old, "a new master")
        await load.more(30)
        load.stop()
    assert set(load.seen) == {"ok"}
    assert await outcomes_on_record(watched.url, "default", load) == {1}
    no_process_died(up)


async def test_a_master_that_is_made_a_replica_in_order_is_left(
    watched: SentinelSet, up: Up
) -> None:
    """The old one comes back as a replica; then an operator gives it the lead again."""
    (dead,) = (node for node in watched.servers if node is not watched.master)
    dead.follow(watched.master)
    await asyncio.to_thread(dead.start)
    await asyncio.to_thread(wait_for, lambda: _follows(dead), "it follows the new master")
    load = Steady(up.url)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(CLIENTS))
        await load.more(10)
        await asyncio.to_thread(wait_for, lambda: _handed_over(watched), "a failover is begun")
        await asyncio.to_thread(wait_for, lambda: watched.master is dead, "it leads again")
        await load.more(30)
        load.stop()
    assert set(load.seen) == {"ok"}
    # What the old master took while the other led already is on nobody's record, and was answered.
    assert await outcomes_on_record(watched.url, "default", load) <= {0, 1}
    no_process_died(up)


def _follows(node: Node) -> bool:
    with node.client as client:
        about: Any = client.info("replication")
        return about.get("master_link_status") == "up"


def _handed_over(watched: SentinelSet) -> bool:
    return bytes(watched.sentinels[0].ask("SENTINEL", "FAILOVER", "mymaster")) == b"OK"
