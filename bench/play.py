"""One run from its options to its result: load, requests, and all that is watched meanwhile."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

from bench import counters, openloop, progress
from bench.client import Asking, Client, Prompt, first_model, open_session
from bench.lag import ClientLoad, LagMeter, client_load
from bench.load import Load
from bench.prompts import IdMaker, PromptMaker, Ratio, measured_ratio
from bench.result import Run, System
from bench.rows import Row
from bench.watch import Watcher
from bench.workload import Workload

# What a chat template may add to a prompt, kept free below the model's length.
_TEMPLATE_TOKENS = 64
_LEAD_S = 0.5


@dataclass(frozen=True, slots=True)
class Play:
    """Everything that decides what a run does; a result file holds it whole.

    `prompt_ids` asks for completions of token ids from that range instead of chats.
    `tokens_per_word` of None is measured before the run. Times are in seconds of life.
    """

    urls: tuple[str, ...]
    load: Load
    objectives: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    model: str | None = None
    prompt_ids: tuple[int, int] | None = None
    tokens_per_word: float | None = None
    ignore_eos: bool = True
    say_class: bool = False
    retries: int = 0
    timeout_s: float = 600.0
    limit_concurrency: int | None = None
    watch: bool = False
    settle_s: float = 30.0
    metrics: tuple[str, ...] = ()
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class _Served:
    """The model to ask for, the load that fits it, and how its prompts are made."""

    model: str
    work: Workload
    ratio: Ratio | None
    prompt: Callable[[int, int], Prompt]


async def run(
    play: Play, say: Callable[[str], None], system: System | None = None, api_key: str = ""
) -> Run:
    """Play the load and return what was measured.

    SIGINT ends the run early; what was measured by then is returned. Raises SpecError and
    TraceError for a load that cannot be read, ServerError for a server that lists no models.
    """
    async with open_session(timeout_s=play.timeout_s / play.speed, api_key=api_key) as session:
        served = await _served(session, play)
        rows = play.load.planned(served.work, play.urls, _LEAD_S)
        say(_headline(served))
        before = await counters.scrape(session, play.metrics)
        started_at = datetime.now(UTC)
        client, watcher, interrupted = await _play(session, play, served, rows)
        after = await counters.scrape(session, play.metrics)
    return Run(
        system=system or System(", ".join(play.urls)),
        load=play.load,
        work=served.work,
        rows=rows,
        started_at=started_at,
        model=served.model,
        objectives=play.objectives,
        arguments=_arguments(play, served.ratio),
        speed=play.speed,
        interrupted=interrupted,
        client={**asdict(client), "warnings": client.warnings()},
        watch=watcher.report() if watcher else None,
        counters=_grown(counters.growth(before, after)) if play.metrics else None,
    )


async def _play(
    session: aiohttp.ClientSession, play: Play, served: _Served, rows: Sequence[Row]
) -> tuple[ClientLoad, Watcher | None, bool]:
    clock, over = openloop.RunClock(play.speed), asyncio.Event()
    meter = LagMeter(play.speed)
    asking = Asking(served.model, play.ignore_eos, play.say_class, play.retries)
    client = Client(session, asking, prompt=served.prompt, clock=clock, speed=play.speed)
    watcher = (
        Watcher(session, play.urls[0], clock, play.speed, play.metrics) if play.watch else None
    )
    async with _interruption() as stop, asyncio.TaskGroup() as group:
        group.create_task(meter.run(over))
        group.create_task(progress.show(rows, meter, clock, over))
        if watcher:
            group.create_task(watcher.run(over))
        await openloop.drive(
            rows, client.send, clock=clock, stop=stop, limit=play.limit_concurrency
        )
        over.set()
    load = client_load(meter, [row.lag_s for row in rows if row.lag_s is not None])
    if watcher:
        await watcher.settle(play.settle_s)
    return load, watcher, stop.is_set()


@asynccontextmanager
async def _interruption() -> AsyncIterator[asyncio.Event]:
    """An event that Ctrl-C sets, for as long as the body lasts."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        yield stop
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _served(session: aiohttp.ClientSession, play: Play) -> _Served:
    # Read before anything is sent: a mistake in the load shows at once.
    play.load.check()
    listed = await first_model(session, play.urls[0])
    length_tokens = listed.get("max_model_len")
    work = play.load.workload(int(length_tokens) - _TEMPLATE_TOKENS if length_tokens else None)
    model, seed = play.model or str(listed["id"]), play.load.seed
    if play.prompt_ids:
        return _Served(model, work, None, IdMaker(seed, *play.prompt_ids).prompt)
    if play.tokens_per_word is None:
        ratio = await measured_ratio(session, play.urls[0], model)
    else:
        ratio = Ratio(play.tokens_per_word)
    return _Served(model, work, ratio, PromptMaker(seed, ratio).prompt)


def _headline(served: _Served) -> str:
    work, ratio = served.work, served.ratio or Ratio()
    return (
        f"{len(work.arrivals)} requests over {work.span_s:.0f} s to {served.model}"
        f" ({', '.join(f'{name} {count}' for name, count in work.sources().items())});"
        f" too long for the unit: {work.clamped} clamped, {work.dropped} dropped;"
        f" {ratio.tokens_per_word:.3g} tokens per word"
    )


def _arguments(play: Play, ratio: Ratio | None) -> dict[str, Any]:
    """The options, but for those that stand elsewhere in the result."""
    elsewhere = {"load", "objectives", "speed"}
    given = {name: value for name, value in asdict(play).items() if name not in elsewhere}
    return {**given, "prompt_ratio": asdict(ratio) if ratio else None}


def _grown(growth: counters.Growth) -> dict[str, Any]:
    flips, steals = "adasplit_flips_total", "adasplit_steals_total"
    return {
        "flips": growth.total(flips),
        "flips_by_role": growth.by_label(flips, "to"),
        "steals": growth.total(steals),
        "steals_by_class": growth.by_label(steals, "class"),
        "steals_by_reason": growth.by_label(steals, "why"),
        "series": {str(series): grown for series, grown in growth.series.items()},
        "unread": growth.unread,
    }
