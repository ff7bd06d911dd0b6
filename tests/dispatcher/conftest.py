"""Dispatchers in this process on a real Redis, scripted units, and the gateway's side played."""

import asyncio
import inspect
import itertools
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from common.connection import Connection, RedisUnavailable
from common.duty import sleep_or_stop
from common.keys import CLASSES, JobClass
from common.models import NewJob, Part
from common.scripts import Arg, Call
from common.server import listen
from common.settings import Settings
from common.store import Store
from common.views import Views
from dispatcher.service import Service
from dispatcher.settings import DispatcherSettings
from tests.conftest import Server
from tests.dispatcher.scripted import ScriptedUnit

# For a machine that is busy with other tests; what is waited for takes a fraction of it.
LIMIT_S = 20.0


async def until(fact: Callable[[], Any]) -> None:
    """Wait until a fact holds; it may be asked of Redis."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            holds = fact()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(0.005)  # polls a fact of another task


class FlakyConnection(Connection):
    """A connection that loses what a test names: the request or the reply of one script, or all."""

    away = False
    lost_request = ""
    lost_reply = ""

    async def run(self, call: Call) -> list[Any]:
        async with self._faults([call]):
            return await super().run(call)

    async def run_many(self, calls: Sequence[Call], relied_on: int = 0) -> list[list[Any]]:
        if len(calls) == 1:
            return [await self.run(calls[0])]
        async with self._faults(calls):
            return await super().run_many(calls, relied_on)

    def post(self, calls: Sequence[Call], done: Callable[[list[list[Any]] | None], None]) -> bool:
        names = {call.script.name for call in calls}
        if self.away or self.lost_request in names:
            self.lost_request = ""
            asyncio.get_running_loop().call_soon(done, None)
            return True
        if self.lost_reply in names:
            self.lost_reply = ""
            return super().post(calls, lambda _: done(None))
        return super().post(calls, done)

    async def command(self, *args: Arg) -> Any:
        async with self._faults([]):
            return await super().command(*args)

    async def commands(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        async with self._faults([]):
            return await super().commands(commands)

    @asynccontextmanager
    async def _faults(self, calls: Sequence[Call]) -> AsyncIterator[None]:
        names = {call.script.name for call in calls}
        if self.away or self.lost_request in names:
            self.lost_request = ""
            raise RedisUnavailable("lost before it arrived")
        yield
        if self.lost_reply in names:
            self.lost_reply = ""
            raise RedisUnavailable("the reply was lost")


@dataclass(frozen=True)
class Received:
    """All parts of one job, in the order in which the gateway got them."""

    parts: tuple[Part, ...]

    @property
    def kinds(self) -> list[str]:
        return [part.kind for part in self.parts]

    @property
    def attempts(self) -> set[int]:
        return {part.attempt for part in self.parts}

    @property
    def head(self) -> dict[str, Any]:
        (head,) = (part for part in self.parts if part.kind == "head")
        return dict(json.loads(head.content))

    @property
    def body(self) -> bytes:
        return b"".join(part.content for part in self.parts if part.kind == "chunk")

    @property
    def end(self) -> dict[str, Any]:
        (end,) = (part for part in self.parts if part.kind == "end")
        return dict(json.loads(end.content))


class Gateway:
    """The gateway's side: submits, cancels, reads its reply stream."""

    def __init__(self, store: Store) -> None:
        self.name = "gateway-1"
        self.store = store
        self.batches: list[list[Part]] = []
        self._after = "0"
        self._frozen = False
        self._left = asyncio.Event()
        self._forgotten = asyncio.Event()
        self._numbers = itertools.count(1)

    async def beat(self) -> None:
        """Say that this gateway lives, until it leaves."""
        while not self._left.is_set():
            if not self._frozen:
                await self.store.beat(self.name)
            await sleep_or_stop(self._left, 0.1)
        await self.store.forget(self.name)
        self._forgotten.set()

    def freeze(self) -> None:
        """Fall silent, as a process that is stopped."""
        self._frozen = True

    async def leave(self) -> None:
        self._left.set()
        await self._forgotten.wait()

    async def submit(
        self,
        *,
        stream: bool = True,
        job_class: JobClass = "short",
        timeout_s: float = 60.0,
        route: str = "/v1/completions",
        body: bytes = b'{"prompt":"hello"}',
    ) -> str:
        job = f"job-{next(self._numbers)}"
        new = NewJob(
            id=job,
            job_class=job_class,
            tokens=10,
            gateway=self.name,
            route=route,
            stream=stream,
            body=body,
            timeout_s=timeout_s,
        )
        assert (await self.store.submit(new)).status == "accepted"
        return job

    async def submit_many(self, count: int, **of_each: Any) -> list[str]:
        return [await self.submit(**of_each) for _ in range(count)]

    async def cancel(self, job: str) -> str:
        return await self.store.cancel(job, "short", self.name, "client gone")

    def seen(self, job: str) -> Received:
        parts = (part for batch in self.batches for part in batch)
        return Received(tuple(part for part in parts if part.job == job))

    async def read(self, wait_s: float = 0.05) -> None:
        self._after, batches = await self.store.read_replies(self.name, self._after, wait_s)
        self.batches += batches

    async def received(self, job: str) -> Received:
        """The whole answer, once its end is there."""
        return await self._until(job, "end")

    async def begun(self, job: str) -> Received:
        """What there is of the answer once its first bytes are there."""
        return await self._until(job, "chunk")

    async def _until(self, job: str, kind: str) -> Received:
        async with asyncio.timeout(LIMIT_S):
            while kind not in self.seen(job).kinds:
                await self.read()
        return self.seen(job)


@dataclass
class Dispatcher:
    """A dispatcher that runs in this process."""

    service: Service
    settings: DispatcherSettings
    connection: FlakyConnection
    registry: CollectorRegistry
    stop: asyncio.Event
    task: asyncio.Task[None]
    url: str

    @property
    def unit(self) -> str:
        return self.settings.unit

    async def stopped(self) -> None:
        """Stop it as SIGTERM does, and wait until it has drained."""
        self.stop.set()
        async with asyncio.timeout(LIMIT_S):
            await self.task

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name which carry these labels."""
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


class LateTurns:
    """Holds the answers of a dispatcher's turns back, once Redis gave them, until `go_on`."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        store = dispatcher.service._store
        turn, self.answered, self.go_on = store.turn, asyncio.Event(), asyncio.Event()

        async def late_turn(*args: Any, **more: Any) -> Any:
            answer = await turn(*args, **more)
            self.answered.set()
            await self.go_on.wait()
            return answer

        store.turn = late_turn  # type: ignore[method-assign]  # Redis that answers late


class Pool:
    """One test's pool: its dispatchers and units, and what Redis says of them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self.connection = Connection.from_url(url)
        settings = Settings(_env_file=None, redis_url=url, pool=self.name)
        self.store = Store(self.connection, settings)
        alive = Settings(_env_file=None, pool=self.name, alive_s=1.0, heartbeat_s=0.2)
        self.views = Views(self.connection, alive)
        self.gateway = Gateway(self.store)
        self.dispatchers: list[Dispatcher] = []
        self.units: list[ScriptedUnit] = []

    async def unit(self, answer: Any = None) -> ScriptedUnit:
        """A scripted unit that listens."""
        unit = ScriptedUnit()
        if answer:
            unit.answer = answer
        await unit.start()
        self.units.append(unit)
        return unit

    def settings(self, unit: ScriptedUnit, name: str, **changes: Any) -> DispatcherSettings:
        return DispatcherSettings(
            **{
                "_env_file": None,
                "redis_url": self.url,
                "pool": self.name,
                "unit": name,
                "unit_url": unit.url,
                "probe_s": 0.1,
                "heartbeat_s": 0.2,
                "alive_s": 1.0,
                "lease_s": 3.0,
                "renew_s": 0.3,
                "drain_s": 0.05,
            }
            | changes
        )

    async def start(self, unit: ScriptedUnit, name: str = "a", **changes: Any) -> Dispatcher:
        """A dispatcher for a unit, not yet in the pool."""
        settings = self.settings(unit, name, **changes)
        connection = FlakyConnection.from_url(settings.redis_url, settings.redis_timeout_s)
        registry, stop = CollectorRegistry(), asyncio.Event()
        service = Service(settings, connection, registry)
        listener = listen("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        task = asyncio.create_task(service.run(stop, listener))
        started = Dispatcher(service, settings, connection, registry, stop, task, url)
        self.dispatchers.append(started)
        return started

    async def dispatcher(self, unit: ScriptedUnit, name: str = "a", **changes: Any) -> Dispatcher:
        """A dispatcher for a unit, which can claim."""
        started = await self.start(unit, name, **changes)
        await until(lambda: self.alive(name))
        return started

    async def alive(self, unit: str) -> bool:
        return unit in {view.name for view in (await self.views.pool()).units if view.alive}

    async def active(self, unit: str) -> dict[str, int]:
        counts = await self.connection.command("HGETALL", self.store.keys.active(unit))
        return {name.decode(): int(count) for name, count in counts.items()}

    async def is_hungry(self, unit: str) -> bool:
        scores = [
            await self.connection.command("ZSCORE", self.store.keys.hungry(name), unit)
            for name in CLASSES
        ]
        return any(score is not None for score in scores)

    async def held(self, unit: str) -> list[str]:
        return [lease.job for lease, _ in await self.views.held(unit)]

    async def job(self, job: str) -> dict[str, str]:
        return await self.views.job(job)

    async def outcome(self, job: str) -> str:
        """The job's outcome, once it has one."""

        async def ended() -> bool:
            return "outcome" in await self.job(job)

        await until(ended)
        return (await self.job(job))["outcome"]

    async def events(self, job: str) -> Counter[str]:
        return Counter(e["event"] for e in await self.views.events() if e.get("job") == job)

    async def aclose(self) -> None:
        """Stop everything. Nobody may hold a job then that nobody runs."""
        for one in self.dispatchers:
            one.connection.away = False
        await asyncio.gather(*(one.stopped() for one in self.dispatchers))
        for unit in self.units:
            await unit.stop()
        for one in self.dispatchers:
            assert await self.held(one.unit) == []
            assert set((await self.active(one.unit)).values()) <= {0}
            await one.connection.aclose()
        await self.connection.aclose()


@pytest.fixture
async def pool(valkey: Server) -> AsyncIterator[Pool]:
    made = Pool(valkey.url)
    beating = asyncio.create_task(made.gateway.beat())
    try:
        yield made
    finally:
        await made.gateway.leave()
        await beating
        await made.aclose()


@pytest.fixture
def gateway(pool: Pool) -> Gateway:
    return pool.gateway
