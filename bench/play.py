"""One run from its options to its result: load, requests, and all that is watched meanwhile."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from bench import counters, openloop, progress, report
from bench.client import Client, Order, Row, first_model, open_session
from bench.lag import ClientLoad, LagMeter, client_load
from bench.prompts import PromptMaker
from bench.traces import read_azure, read_mooncake
from bench.watch import Watcher
from bench.workload import Limits, Oversize, Workload, chats, documents, merged

FORMAT_VERSION = 1
# What a chat template may add to a prompt, kept free below the model's length.
_TEMPLATE_TOKENS = 64
_LEAD_S = 0.5


@dataclass(frozen=True, slots=True)
class Replay:
    """Everything that decides what a replay does; a result file holds it whole."""

    urls: tuple[str, ...]
    route: str = "round-robin"
    azure: Path | None = None
    mooncake: Path | None = None
    window_s: float = 600.0
    min_long_tokens: int = 4096
    thin: float = 0.08
    lump_s: float = 3.0
    time_scale: float = 1.0
    long_threshold_tokens: int = 4096
    max_prompt_tokens: int | None = None
    oversize: Oversize = Oversize.CLAMP
    seed: int = 1
    model: str | None = None
    timeout_s: float = 600.0
    limit_concurrency: int | None = None
    watch: bool = False
    settle_s: float = 30.0
    metrics: tuple[str, ...] = ()
    rows: bool = False


@dataclass(frozen=True, slots=True)
class _Served:
    """The model to ask for, and how long a request to it may be."""

    model: str
    limits: Limits


def workload(replay: Replay, limits: Limits) -> Workload:
    """The load that the options describe; the same for the same options, files and limits."""
    sources = []
    if replay.azure:
        sources.append(chats(read_azure(replay.azure), source="azure"))
    if replay.mooncake:
        found = documents(
            read_mooncake(replay.mooncake),
            source="mooncake",
            min_prompt_tokens=replay.min_long_tokens,
            thin=replay.thin,
            lump_s=replay.lump_s,
            seed=replay.seed,
        )
        sources.append(found)
    return merged(
        *sources,
        window_s=replay.window_s,
        time_scale=replay.time_scale,
        limits=limits,
        oversize=replay.oversize,
    )


def planned(load: Workload, replay: Replay) -> list[Row]:
    """One row per arrival, sent to the URLs in turn."""
    return [
        Row(
            Order(
                index=index,
                source=one.source,
                size_class="long" if one.prompt_tokens >= replay.long_threshold_tokens else "short",
                url=replay.urls[index % len(replay.urls)],
                intended_s=one.at_s + _LEAD_S,
                prompt_tokens=one.prompt_tokens,
                output_tokens=one.output_tokens,
            )
        )
        for index, one in enumerate(load.arrivals)
    ]


async def run(replay: Replay, say: Callable[[str], None]) -> dict[str, Any]:
    """Play the load and return the result, ready to be written as JSON.

    SIGINT ends the run early; what was measured by then is returned. Raises TraceError for a file
    that cannot be read, and ServerError for a server that does not list its models.
    """
    async with open_session(timeout_s=replay.timeout_s) as session:
        served = await _served(session, replay)
        load = workload(replay, served.limits)
        say(_headline(load, served))
        rows = planned(load, replay)
        before = await counters.scrape(session, replay.metrics)
        started_at = datetime.now(UTC)
        client, watcher, interrupted = await _play(session, replay, served.model, rows)
        after = await counters.scrape(session, replay.metrics)
    return {
        "bench": "replay",
        "format": FORMAT_VERSION,
        "started_at": started_at.isoformat(),
        "interrupted": interrupted,
        "arguments": asdict(replay),
        "model": served.model,
        "limits": asdict(served.limits),
        "workload": _described(load),
        "span_s": report.run_span_s(rows),
        "classes": report.summarise(rows),
        "outcomes": report.outcomes(rows),
        "answered_by": report.per_target(rows),
        "class_by_tokens_and_said": report.class_table(rows),
        "attempts": report.attempts(rows),
        "client": {**asdict(client), "warnings": client.warnings()},
        "watch": watcher.report() if watcher else None,
        "counters": _grown(counters.growth(before, after)) if replay.metrics else None,
        "rows": [report.flat(row) for row in rows] if replay.rows else None,
    }


async def _play(
    session: aiohttp.ClientSession, replay: Replay, model: str, rows: Sequence[Row]
) -> tuple[ClientLoad, Watcher | None, bool]:
    clock, meter, over = openloop.RunClock(), LagMeter(), asyncio.Event()
    client = Client(session, model=model, prompt=PromptMaker(replay.seed).prompt, clock=clock)
    watcher = Watcher(session, replay.urls[0], clock) if replay.watch else None
    async with _interruption() as stop, asyncio.TaskGroup() as group:
        group.create_task(meter.run(over))
        group.create_task(progress.show(rows, meter, clock, over))
        if watcher:
            group.create_task(watcher.run(over))
        await openloop.drive(
            rows, client.send, clock=clock, stop=stop, limit=replay.limit_concurrency
        )
        over.set()
    load = client_load(meter, [row.lag_s for row in rows if row.lag_s is not None])
    if watcher:
        await watcher.settle(replay.settle_s)
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


async def _served(session: aiohttp.ClientSession, replay: Replay) -> _Served:
    listed = await first_model(session, replay.urls[0])
    length_tokens = listed.get("max_model_len")
    total_tokens = int(length_tokens) - _TEMPLATE_TOKENS if length_tokens else None
    return _Served(
        replay.model or str(listed["id"]), Limits(replay.max_prompt_tokens, total_tokens)
    )


def _headline(load: Workload, served: _Served) -> str:
    return (
        f"{len(load.arrivals)} requests over {load.span_s:.0f} s to {served.model}"
        f" ({', '.join(f'{name} {count}' for name, count in load.sources().items())});"
        f" too long for the unit: {load.clamped} clamped, {load.dropped} dropped"
    )


def _described(load: Workload) -> dict[str, Any]:
    return {
        "digest": load.digest(),
        "requests": len(load.arrivals),
        "span_s": load.span_s,
        "sources": load.sources(),
        "prompt_tokens": sum(one.prompt_tokens for one in load.arrivals),
        "output_tokens": sum(one.output_tokens for one in load.arrivals),
        "clamped": load.clamped,
        "dropped": load.dropped,
    }


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
