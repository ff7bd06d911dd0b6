"""One pool a test, on fakeredis for speed and on a real server in cluster mode for truth."""

import asyncio
import itertools
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from hypothesis import settings as hypothesis_settings

from common.connection import Connection
from common.keys import CLASSES, GROUP, JobClass
from common.models import Claim, ClaimedJob, Finish, Lease, NewJob, Outcome, Submitted
from common.policy import Policy
from common.scripts import Arg, Script, load_scripts
from common.settings import Settings
from common.store import Store
from common.views import Views
from tests.conftest import BINARIES, Server
from tests.lua.mutants import applied

hypothesis_settings.register_profile("quiet", deadline=None, print_blob=True)
hypothesis_settings.load_profile("quiet")

GATEWAY = "gateway-1"

# What may stay in Redis without a TTL: permanent by decision, or gone when empty.
PERMANENT = re.compile(
    r"(queue|requeued|waiting|due|spent|virtual|hungry|group):(short|long)|lane:(short|long):[^:]*"
    r"|(role|active|leases|idle_since|unit):[^:]+"
    r"|units|models|gateways|pulse|bytes|dead|events|policy|stealing"
)


class Clock:
    """Virtual time, far from 0 so that ages can be subtracted."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


class Pool:
    """A pool of its own name, and the words that the tests use of it."""

    def __init__(self, connection: Connection, settings: Settings, clock: Clock) -> None:
        self.connection = connection
        self.settings = settings
        self.clock = clock
        self.store = Store(connection, settings, clock)
        self.views = Views(connection, settings, clock)
        self.keys = self.store.keys
        self._numbers = itertools.count(1)

    async def redis(self, *args: Arg) -> Any:
        return await self.connection.command(*args)

    def with_settings(self, **changes: Any) -> "Pool":
        """The same pool as a process with other settings uses it."""
        changed = self.settings.model_copy(update=changes)
        other = Pool(self.connection, changed, self.clock)
        other._numbers = self._numbers
        return other

    async def pass_time(self, seconds: float) -> None:
        """Let time pass while somebody beats: then the silence of the others counts."""
        while seconds > 0:
            step_s = min(seconds, self.settings.alive_s / 3)
            self.clock.advance(step_s)
            await self.store.beat(GATEWAY)
            seconds -= step_s

    # Units

    async def unit(self, *names: str, role: JobClass = "short", **fields: Arg) -> None:
        """Register units and give them a role."""
        for name in names:
            await self.store.register(name, {"url": "http://unit", **fields})
            await self.redis("SET", self.keys.role(name), role)

    async def hungry(self, *names: str, role: JobClass = "short") -> None:
        """Units that are registered, idle, and have asked and found nothing."""
        await self.unit(*names, role=role)
        for name in names:
            assert (await self.claim(name)).jobs == ()

    async def woken(self, *names: str) -> list[str]:
        """Which of these units were sent a wake-up, each as often as it was; forgets them."""
        found = []
        for name in names:
            found += [name] * await self.redis("LLEN", self.keys.wake(name))
            await self.redis("DEL", self.keys.wake(name))
        return found

    async def is_hungry(self, unit: str) -> bool:
        scores = [await self.redis("ZSCORE", self.keys.hungry(name), unit) for name in CLASSES]
        return any(score is not None for score in scores)

    # Jobs

    def new_job(self, job_class: JobClass = "short", **changes: Any) -> NewJob:
        job = NewJob(
            id=f"job-{next(self._numbers)}",
            job_class=job_class,
            tokens=100,
            gateway=GATEWAY,
            route="/v1/completions",
            stream=True,
            body=b"{}",
        )
        return replace(job, **changes)

    async def try_submit(self, job_class: JobClass = "short", **changes: Any) -> Submitted:
        return await self.store.submit(self.new_job(job_class, **changes))

    async def submit(
        self, job_class: JobClass = "short", count: int = 1, **changes: Any
    ) -> list[str]:
        """Submit jobs and answer their ids."""
        jobs = [self.new_job(job_class, **changes) for _ in range(count)]
        for job in jobs:
            assert (await self.store.submit(job)).status == "accepted"
        return [job.id for job in jobs]

    async def claim(self, unit: str, **policy: Any) -> Claim:
        """Claim; `policy` changes settings for this claim alone."""
        changed = Policy.model_validate(self.settings.model_dump() | policy) if policy else None
        return await self.store.claim(unit, changed)

    async def take(self, unit: str, **policy: Any) -> list[str]:
        """Claim and answer the ids alone."""
        return [job.id for job in (await self.claim(unit, **policy)).jobs]

    async def one(self, unit: str, job_class: JobClass = "short", **changes: Any) -> ClaimedJob:
        """A new job in the hands of a unit."""
        await self.submit(job_class, **changes)
        (job,) = (await self.claim(unit)).jobs
        return job

    def finished(self, job: ClaimedJob, outcome: Outcome = "ok", **changes: Any) -> Finish:
        finish = Finish(job.id, job.attempt, job.job_class, job.gateway, outcome, status=200)
        return replace(finish, **changes)

    async def finish(self, unit: str, *jobs: ClaimedJob, outcome: Outcome = "ok") -> list[str]:
        turn = await self.store.turn(unit, finishes=[self.finished(job, outcome) for job in jobs])
        return list(turn.finished)

    async def requeue(self, unit: str, job: ClaimedJob, **changes: bool) -> str:
        lease = Lease(job.id, job.attempt, job.job_class)
        return await self.store.requeue(unit, lease, job.gateway, "unit failed", **changes)

    async def cancel(self, job: str, job_class: JobClass = "short") -> str:
        return await self.store.cancel(job, job_class, GATEWAY, "client left")

    async def lose_job(self, job: str) -> None:
        """Make Redis forget a job, as one does that has lost its last second."""
        body_bytes = await self.redis("HSTRLEN", self.keys.job(job), "body")
        await self.redis("DEL", self.keys.job(job))
        await self.redis("DECRBY", self.keys.bytes, body_bytes)

    # Facts

    async def job(self, job: str) -> dict[str, str]:
        return await self.views.job(job)

    async def depth(self, job_class: JobClass = "short") -> int:
        return await self.views.depth(job_class)

    async def active(self, unit: str) -> dict[str, int]:
        short, long = await self.redis("HMGET", self.keys.active(unit), *CLASSES)
        return {"short": int(short or 0), "long": int(long or 0)}

    async def leases(self, unit: str) -> dict[str, int]:
        """Each lease of a unit, with the time it ends (ms)."""
        found = await self.redis("ZRANGE", self.keys.leases(unit), 0, -1, "WITHSCORES")
        names, scores = found[::2], found[1::2]
        return {name.decode(): int(float(score)) for name, score in zip(names, scores, strict=True)}

    async def idle_since(self, unit: str) -> int | None:
        since = await self.redis("GET", self.keys.idle_since(unit))
        return None if since is None else int(since)

    async def consumers(self, job_class: JobClass) -> dict[str, int]:
        """How many pending entries each consumer of a queue has."""
        found = await self.redis("XPENDING", self.keys.queue(job_class), GROUP)
        return {item["name"].decode(): item["pending"] for item in found["consumers"]}

    async def replies(self, gateway: str = GATEWAY) -> list[dict[str, bytes]]:
        """The batches in a gateway's reply stream, without the one that opened it."""
        entries = await self.redis("XRANGE", self.keys.reply(gateway), "-", "+")
        batches = [{name.decode(): part for name, part in fields.items()} for _, fields in entries]
        return [batch for batch in batches if "opened" not in batch]

    async def events(self, *names: str) -> list[dict[str, str]]:
        return [event for event in await self.views.events() if event["event"] in names]

    async def key_names(self) -> list[str]:
        found, cursor = [], "0"
        while True:
            answer = await self.redis(
                "SCAN", cursor, "MATCH", f"{self.keys.prefix}:*", "COUNT", 500
            )
            found += [name.decode() for name in answer[1]]
            cursor = answer[0]
            if int(cursor) == 0:
                return sorted(set(found))

    async def leaked_keys(self) -> list[str]:
        """Keys that have no TTL and are not permanent by decision."""
        names = await self.key_names()
        rest = {name: name.removeprefix(f"{self.keys.prefix}:") for name in names}
        doubtful = [name for name in names if not PERMANENT.fullmatch(rest[name])]
        return [name for name in doubtful if await self.redis("PTTL", name) == -1]

    async def held_bytes(self) -> int:
        """Bytes of the bodies of all jobs that have not ended."""
        jobs = [key for key in await self.key_names() if key.startswith(self.keys.job(""))]
        open_jobs = [job for job in jobs if await self.redis("HGET", job, "outcome") != b"dead"]
        return sum([await self.redis("HSTRLEN", job, "body") for job in open_jobs])

    async def check_counts(self) -> None:
        """The counters say what the lease sets and the bodies hold; nothing is below 0."""
        counted = int(await self.redis("GET", self.keys.bytes) or 0)
        assert counted == await self.held_bytes()
        for key in await self.key_names():
            kind, _, unit = key.removeprefix(f"{self.keys.prefix}:").partition(":")
            if kind not in {"active", "leases"}:
                continue
            held = Counter([(await self.job(job)).get("class") for job in await self.leases(unit)])
            if None not in held:
                assert await self.active(unit) == {name: held[name] for name in CLASSES}, unit


def plain(script: Script) -> Script:
    """A script as fakeredis takes it: it rejects the first line, `#!lua`."""
    return replace(script, text=script.text.partition("\n")[2])


@asynccontextmanager
async def fake_connection() -> AsyncIterator[Connection]:
    scripts = {name: plain(script) for name, script in applied(load_scripts()).items()}
    memory = FakeServer()
    quick, blocking = (FakeAsyncRedis(server=memory, protocol=2) for _ in range(2))
    connection = Connection(quick, blocking, scripts)
    yield connection
    await connection.aclose()


async def new_pool(connection: Connection) -> Pool:
    # Heartbeats are on virtual time, reply streams on the server's: slowness must not end them.
    settings = Settings(_env_file=None, pool=uuid.uuid4().hex, alive_s=30.0)
    pool = Pool(connection, settings, Clock())
    await pool.store.beat(GATEWAY)
    return pool


@asynccontextmanager
async def real_connection(server: Server) -> AsyncIterator[Connection]:
    connection = Connection.from_url(server.url)
    yield connection
    await connection.aclose()


@pytest.fixture(params=["fake", *BINARIES])
async def connection(
    request: pytest.FixtureRequest, servers: Callable[[str], Server]
) -> AsyncIterator[Connection]:
    """A connection to fakeredis, and then to each kind of server."""
    is_fake = request.param == "fake"
    opened = fake_connection() if is_fake else real_connection(servers(request.param))
    async with opened as connection:
        yield connection


@pytest.fixture
async def real(valkey: Server) -> AsyncIterator[Connection]:
    """A connection to a real server, for what fakeredis cannot show."""
    async with real_connection(valkey) as connection:
        yield connection


@pytest.fixture
async def pool(connection: Connection) -> AsyncIterator[Pool]:
    """A new pool, looked at after the test for leaked keys and for counters that drifted."""
    pool = await new_pool(connection)
    yield pool
    assert await pool.leaked_keys() == []
    await pool.check_counts()


@pytest.fixture
async def real_pool(real: Connection) -> AsyncIterator[Pool]:
    """A pool on a real server only."""
    pool = await new_pool(real)
    yield pool
    assert await pool.leaked_keys() == []
    await pool.check_counts()


@pytest.fixture
def clock(pool: Pool) -> Clock:
    """The time of the test's pool."""
    return pool.clock


Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def until() -> Until:
    """Wait for a fact, on the server's own clock, with a generous limit."""

    async def wait(fact: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(20):
            while not await fact():  # noqa: ASYNC110  # the server sets no event of ours
                await asyncio.sleep(0.01)

    return wait
