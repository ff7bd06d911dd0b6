"""One run: starts units and systems, measures them in turn, round after round, and ends them."""

import asyncio
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from bench import fleet
from bench.compare import slug
from bench.cost import figures
from bench.cost.brake import braked
from bench.cost.cpu import Parts, grown, of_system
from bench.cost.hops import hops
from bench.cost.ports import Ports
from bench.cost.stages import STAGES, Amounts, Stage
from bench.cost.systems import DIRECT, Absent, Place, System, system, units

FORMAT_VERSION = 1
_IDLE_S = 2.0
# Ray's HAProxy is replaced by a new one shortly after the front is ready.
_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Everything that decides a run; a result file holds it whole."""

    systems: tuple[str, ...]
    stages: tuple[Stage, ...]
    rounds: int = 3
    units: int = 4
    tokens_per_s: float = 50.0
    hops: bool = False
    gateway_share: float = 1.0
    amounts: Amounts = field(default_factory=Amounts)


@dataclass(slots=True)
class Measured:
    """A system that runs, and what its rounds found."""

    system: System
    parts: Parts
    idle_cpu_s: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, dict[str, Any]]] = field(default_factory=list)


class Run:
    """`peers` is the folder of their environments, `logs` gets what all processes say."""

    def __init__(
        self, cost: Cost, ports: Ports, peers: Path, logs: Path, say: Callable[[str], None]
    ) -> None:
        self._cost = cost
        self._ports = ports
        self._peers = peers
        self._logs = logs
        self._say = say
        self._skipped: dict[str, str] = {}

    async def result(self) -> dict[str, Any]:
        """Raises ServerError, SpecError, NoPorts."""
        started_at = datetime.now(UTC)
        async with AsyncExitStack() as stack:
            running = await self._start(stack)
            await self._rest(running)
            for number in range(self._cost.rounds):
                self._say(f"round {number + 1} of {self._cost.rounds}")
                await self._round(running, backwards=bool(number % 2))
            hop_by_hop = await self._hops(running) if self._cost.hops else None
        direct = running[0]
        return {
            "bench": "cost",
            "format": FORMAT_VERSION,
            "started_at": started_at.isoformat(),
            "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
            "arguments": asdict(self._cost),
            "skipped": self._skipped,
            "hops": hop_by_hop,
            "systems": {
                one.system.name: {
                    "processes": of_system(one.parts.counts()),
                    "idle_core_share": sum(one.idle_cpu_s.values()) / _IDLE_S,
                    "figures": figures.summarised(one.rounds, direct.rounds),
                    "rounds": one.rounds,
                }
                for one in running
            },
        }

    async def _start(self, stack: AsyncExitStack) -> list[Measured]:
        cost = self._cost
        behind = units(cost.units, self._ports, cost.tokens_per_s)
        pids = await stack.enter_async_context(fleet.running([behind], {}, self._logs))
        urls = {one.name: one.ready_url.removesuffix("/health") for one in behind}
        running = []
        for text in dict.fromkeys((DIRECT, *cost.systems)):
            try:
                one = system(text, self._place(text, urls))
            except Absent as reason:
                self._skipped[text] = str(reason)
                self._say(f"{text} is left out: {reason}")
                continue
            self._say(f"starting {one.name}")
            front = await self._front(stack, one)
            running.append(Measured(one, Parts(pids.values(), front)))
        return running

    def _place(self, text: str, urls: Mapping[str, str]) -> Place:
        folder = self._logs / slug(text)
        folder.mkdir(exist_ok=True)
        return Place(urls, self._ports, folder, self._peers)

    async def _front(self, stack: AsyncExitStack, one: System) -> int | None:
        """The process that stands before all others of a system; None where there is none."""
        if one.program is None:
            return None
        folder = self._logs / slug(one.name)
        starting = fleet.running([[one.program]], one.settings, folder)
        pids = await stack.enter_async_context(starting)
        if one.seen_at:
            async with aiohttp.ClientSession() as session:
                await fleet.until_all_live(session, one.seen_at, self._cost.units)
        return pids[one.program.name]

    async def _rest(self, running: Sequence[Measured]) -> None:
        """What all systems use while nobody asks them: they run side by side."""
        await asyncio.sleep(_SETTLE_S)
        for one in running:
            one.parts.look()
        before = [one.parts.spent_s() for one in running]
        await asyncio.sleep(_IDLE_S)
        for one, spent in zip(running, before, strict=True):
            one.idle_cpu_s = of_system(grown(spent, one.parts.spent_s()))

    async def _round(self, running: Sequence[Measured], *, backwards: bool) -> None:
        for one in running:
            one.rounds.append({})
        for stage in self._cost.stages:
            for one in reversed(running) if backwards else running:
                one.parts.look()
                async with braked(one.parts.of("gateway"), self._cost.gateway_share):
                    found = await STAGES[stage](one.system.target, one.parts, self._cost.amounts)
                one.rounds[-1][stage.value] = found

    async def _hops(self, running: Sequence[Measured]) -> dict[str, Any]:
        """Of each AdaSplit, where the time of one request goes."""
        amounts = self._cost.amounts
        return {
            one.system.name: await hops(
                one.system.target, one.system.redis_url(), amounts.tokens, amounts.requests
            )
            for one in running
            if one.system.note
        }
