"""`adasplit bench long-prompts`: what long prompts weigh, and whether others' tokens wait."""

import asyncio
import gc
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any, cast

import aiohttp
import psutil
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from bench import fleet
from bench.command import failures_in_one_line, write_json
from bench.cost.ports import Ports
from bench.cost.systems import Place, system, units
from bench.cost.wire import Line, Requests, Target, lines
from bench.options import Out
from bench.stats import percentile, spread
from cli.program import Program

FORMAT_VERSION = 2
_UNITS = 4
_SETTINGS = "worker_concurrency_limit=64"
_SAMPLE_S = 0.01
_RAMP_S = 2.0
_SHORT_BYTES = 1000
_TITLES = {
    "calm": "nobody else comes",
    "short": "short prompts come",
    "long": "long prompts come",
}
_PART_OF = {"gateway": "gateways", "dispatcher": "dispatchers", "scaler": "scaler"}


@dataclass(frozen=True, slots=True)
class Asked:
    """Who streams, which prompts come beside, and how often."""

    streams: int
    tokens_per_s: float
    prompts: int
    body_bytes: int
    tokens: int
    rounds: int
    calm_s: float


class Gaps:
    """When tokens of each stream came, as the time between two of them."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def of_stream(self) -> Callable[[int], None]:
        before_s = [0.0]

        def heard(_: int) -> None:
            now_s = time.perf_counter()
            if before_s[0]:
                self.seen.append((now_s, now_s - before_s[0]))
            before_s[0] = now_s

        return heard

    async def during(self, what: Awaitable[None]) -> list[float]:
        """Those that end while something is awaited."""
        start_s = time.perf_counter()
        await what
        end_s = time.perf_counter()
        return [gap_s for at_s, gap_s in self.seen if start_s <= at_s <= end_s]


class Memory:
    """Resident bytes of a system's processes by part, and the most that was seen."""

    def __init__(self, front: int) -> None:
        self._processes: dict[str, list[psutil.Process]] = {}
        for process in psutil.Process(front).children(recursive=True):
            if part := _part(process.cmdline()):
                self._processes.setdefault(part, []).append(process)
        self.peak: dict[str, int] = {}
        self.peak_together = 0

    def now(self) -> dict[str, int]:
        return {
            part: sum(process.memory_info().rss for process in processes)
            for part, processes in self._processes.items()
        }

    def sample(self) -> None:
        found = self.now()
        self.peak = {part: max(found[part], self.peak.get(part, 0)) for part in found}
        self.peak_together = max(self.peak_together, sum(found.values()))

    async def watch(self) -> None:
        self.peak, self.peak_together = {}, 0
        while True:
            self.sample()
            await asyncio.sleep(_SAMPLE_S)


def _part(command: list[str]) -> str:
    match command:
        case [_, "-m", module, *_] if module in _PART_OF:
            return _PART_OF[module]
        case [binary, *_] if "valkey-server" in binary:
            return "Redis"
    return ""


class Sender:
    """The process that sends the long prompts."""

    def __init__(self, said: asyncio.StreamReader, told: asyncio.StreamWriter) -> None:
        self._said = said
        self._told = told

    async def ready(self) -> None:
        await self._hear("ready")

    async def burst(self) -> None:
        """Send all of them, and wait until they are answered."""
        self._told.write(b"go\n")
        await self._hear("answered")

    async def _hear(self, word: str) -> None:
        line = (await self._said.readline()).decode().strip()
        if line != word:
            raise RuntimeError(f"the sender said {line!r} and not {word!r}")


@asynccontextmanager
async def _sender(url: str, ask: Asked) -> AsyncIterator[Sender]:
    numbers = {"prompts": ask.prompts, "body-bytes": ask.body_bytes, "tokens": ask.tokens}
    options = [text for name, value in numbers.items() for text in (f"--{name}", str(value))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.long_sender", "--url", url, *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Sender(
            cast("asyncio.StreamReader", process.stdout),
            cast("asyncio.StreamWriter", process.stdin),
        )
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _adasplit(
    ports: Ports, tokens_per_s: float, logs: Path
) -> AsyncIterator[tuple[Target, int]]:
    """AdaSplit before units that cost little: where to ask it, and the process that started it."""
    behind = units(_UNITS, ports, tokens_per_s)
    async with fleet.running([behind], {}, logs):
        urls = {one.name: one.ready_url.removesuffix("/health") for one in behind}
        (logs / "adasplit").mkdir()
        one = system(f"adasplit:{_SETTINGS}", Place(urls, ports, logs / "adasplit", logs))
        program = cast("Program", one.program)
        async with fleet.running([[program]], one.settings, logs) as pids:
            async with aiohttp.ClientSession() as session:
                await fleet.until_all_live(session, one.seen_at, _UNITS)
            yield one.target, pids[program.name]


async def run(ports: Ports, ask: Asked) -> dict[str, Any]:
    """Streams all the while; in rounds a calm time, a burst of short prompts, one of long ones."""
    started_at = datetime.now(UTC)
    gaps = Gaps()
    found: dict[str, list[list[float]]] = {name: [] for name in _TITLES}
    with TemporaryDirectory() as folder, _undisturbed():
        async with (
            _adasplit(ports, ask.tokens_per_s, Path(folder)) as (target, front),
            lines(target, ask.streams) as opened,
            _sender(target.urls[0], replace(ask, body_bytes=_SHORT_BYTES)) as short,
            _sender(target.urls[0], ask) as long,
        ):
            memory = Memory(front)
            listening = [asyncio.create_task(_listen(line, target, gaps)) for line in opened]
            await asyncio.sleep(_RAMP_S)
            await long.ready()
            before = memory.now()
            watching = asyncio.create_task(memory.watch())
            for _ in range(ask.rounds):
                await short.ready()
                found["calm"].append(await gaps.during(asyncio.sleep(ask.calm_s)))
                found["short"].append(await gaps.during(short.burst()))
                found["long"].append(await gaps.during(long.burst()))
                watching.cancel()
                await long.ready()
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)
    weight = ask.prompts * ask.body_bytes
    return {
        "bench": "long-prompts",
        "format": FORMAT_VERSION,
        "started_at": started_at.isoformat(),
        "arguments": asdict(ask) | {"cores": os.cpu_count()},
        "gap_s": {name: spread([gap for one in of for gap in one]) for name, of in found.items()},
        "p99_of_rounds_s": {
            name: [percentile(one, 99) for one in of] for name, of in found.items()
        },
        "copies": {part: (memory.peak[part] - before[part]) / weight for part in before},
        "copies_together": (memory.peak_together - sum(before.values())) / weight,
    }


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without the collector of cycles, which here takes longer than what is measured."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _listen(line: Line, target: Target, gaps: Gaps) -> None:
    requests = Requests(target, 100_000)
    await requests.stream(line, gaps.of_stream())


def tables(result: dict[str, Any]) -> list[Table]:
    gaps = Table(title="Time between two tokens of the others, ms")
    for name in ("", "p50", "p90", "p99", "max", "gaps", "p99 of a round"):
        gaps.add_column(name, justify="right")
    for name, title in _TITLES.items():
        found: Mapping[str, float] = result["gap_s"][name]
        ranks = [f"{1e3 * found[rank]:.1f}" for rank in ("p50", "p90", "p99", "max")]
        p99s = [1e3 * each for each in result["p99_of_rounds_s"][name]]
        each = f"{median(p99s):.1f} ({min(p99s):.1f} to {max(p99s):.1f})"
        gaps.add_row(title, *ranks, f"{found['n']:,}", each)
    copies = Table(title="Memory at its peak, in bodies of the long prompts")
    for name in (*result["copies"], "all together"):
        copies.add_column(name, justify="right")
    copies.add_row(
        *(f"{each:.2f}" for each in (*result["copies"].values(), result["copies_together"]))
    )
    return [gaps, copies]


def command(
    *,
    port: Annotated[int, typer.Option(help="First of the ports to use.")] = 18500,
    streams: Annotated[int, typer.Option(min=1, help="Streams of the others.")] = 32,
    tokens_per_s: Annotated[float, typer.Option(min=1, help="Of each stream.")] = 50.0,
    prompts: Annotated[int, typer.Option(min=1, help="Long prompts that come at once.")] = 20,
    body_bytes: Annotated[int, typer.Option(min=1000, help="Of each long prompt.")] = 500_000,
    tokens: Annotated[int, typer.Option(min=1, help="Of each answer to a long prompt.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Bursts of long prompts.")] = 5,
    calm_s: Annotated[float, typer.Option(min=0.1, help="Time before the bursts.")] = 2.0,
    out: Out = None,
) -> None:
    """Others' inter-token gaps while long prompts come, and how many copies of these there are."""
    with failures_in_one_line():
        ask = Asked(streams, tokens_per_s, prompts, body_bytes, tokens, rounds, calm_s)
        result = uvloop.run(run(Ports(port), ask))
    if out:
        write_json(out, result)
    for found in tables(result):
        Console().print(found)
