"""The three measurements of one system in one round: latency, throughput, streams."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bench.client import ServerError
from bench.cost.cpu import Parts, grown
from bench.cost.wire import Line, Requests, Target, lines
from bench.stats import percentile


class Stage(StrEnum):
    """What is measured of each system, in this order."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
    STREAMS = "streams"


_WARM_UP_REQUESTS = 8
_WARM_UP_S = 0.5
_WITHIN_S = 90.0
_LONGEST_BLOCK_S = 5.0


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is asked for in one round; a result file holds it whole."""

    requests: int = 400
    seconds: float = 3.0
    concurrency: int = 32
    tokens: int = 8
    streams: int = 32
    stream_tokens: int = 200


async def latency(target: Target, parts: Parts, amounts: Amounts) -> dict[str, Any]:
    """One request at a time, until there were enough or a slow system has had its seconds."""
    requests = Requests(target, amounts.tokens)
    async with _in_time(target), lines(target, len(target.urls)) as opened:
        for number in range(_WARM_UP_REQUESTS * len(opened)):
            await requests.whole(opened[number % len(opened)])
        taken_s: list[float] = []
        before, start_s = parts.spent_s(), time.perf_counter()
        while len(taken_s) < amounts.requests and time.perf_counter() - start_s < _LONGEST_BLOCK_S:
            taken_s.append((await requests.whole(opened[len(taken_s) % len(opened)])).took_s)
        span_s, spent = time.perf_counter() - start_s, grown(before, parts.spent_s())
    return {
        "requests": len(taken_s),
        "span_s": span_s,
        "p50_s": percentile(taken_s, 50),
        "p99_s": percentile(taken_s, 99),
        "cpu_s": spent,
    }


async def throughput(target: Target, parts: Parts, amounts: Amounts) -> dict[str, Any]:
    """A closed loop: every connection sends its next request when its last is answered."""
    requests = Requests(target, amounts.tokens)
    done, over = 0, False

    async def keep_asking(line: Line) -> None:
        nonlocal done
        while not over:
            await requests.whole(line)
            done += 1

    async def watch() -> dict[str, Any]:
        nonlocal over
        await asyncio.sleep(_WARM_UP_S)
        before, already, start_s = parts.spent_s(), done, time.perf_counter()
        await asyncio.sleep(amounts.seconds)
        spent, answered = grown(before, parts.spent_s()), done - already
        span_s = time.perf_counter() - start_s
        over = True
        return {"requests": answered, "span_s": span_s, "cpu_s": spent}

    async with _in_time(target), lines(target, amounts.concurrency) as opened:
        return await _beside([keep_asking(line) for line in opened], watch())


@dataclass(slots=True)
class _Heard:
    """What the client heard of all streams of a round."""

    tokens: int = 0
    gaps_s: list[float] = field(default_factory=list)
    begun: int = 0
    all_began: asyncio.Event = field(default_factory=asyncio.Event)
    one_ended: asyncio.Event = field(default_factory=asyncio.Event)

    def listener(self, streams: int) -> Callable[[int], None]:
        """For one stream: called with how many tokens have come together."""
        last_s = 0.0

        def heard(tokens: int) -> None:
            nonlocal last_s
            now_s = time.perf_counter()
            self.tokens += tokens
            if last_s:
                self.gaps_s.append(now_s - last_s)
            else:
                self.begun += 1
                if self.begun == streams:
                    self.all_began.set()
            # Tokens that come together have no time between them.
            self.gaps_s += [0.0] * (tokens - 1)
            last_s = now_s

        return heard


async def streams(target: Target, parts: Parts, amounts: Amounts) -> dict[str, Any]:
    """Streams side by side.

    CPU counts while all of them run, from the last that began to the first that ended: so it is
    that of tokens alone.
    """
    requests = Requests(target, amounts.stream_tokens)
    heard = _Heard()

    async def stream(line: Line) -> None:
        await requests.stream(line, heard.listener(amounts.streams))
        heard.one_ended.set()

    async def watch() -> dict[str, Any]:
        await heard.all_began.wait()
        if heard.one_ended.is_set():
            raise ServerError(
                f"{target.name}: a stream ended before all had begun: make them longer"
            )
        before, already, start_s = parts.spent_s(), heard.tokens, time.perf_counter()
        await heard.one_ended.wait()
        spent, tokens = grown(before, parts.spent_s()), heard.tokens - already
        return {"tokens": tokens, "span_s": time.perf_counter() - start_s, "cpu_s": spent}

    async with _in_time(target), lines(target, amounts.streams) as opened:
        found = await _beside([stream(line) for line in opened], watch())
    gaps = {f"gap_p{rank}_s": percentile(heard.gaps_s, rank) for rank in (50, 99)}
    return found | gaps | {"gap_max_s": max(heard.gaps_s)}


STAGES: dict[Stage, Callable[[Target, Parts, Amounts], Awaitable[dict[str, Any]]]] = {
    Stage.LATENCY: latency,
    Stage.THROUGHPUT: throughput,
    Stage.STREAMS: streams,
}


async def _beside(
    load: Iterable[Awaitable[None]], watch: Awaitable[dict[str, Any]]
) -> dict[str, Any]:
    """What `watch` finds while the load runs; the first failure of either ends both."""
    watching = asyncio.ensure_future(watch)
    tasks = [watching, *(asyncio.ensure_future(each) for each in load)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return watching.result()


@asynccontextmanager
async def _in_time(target: Target) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_WITHIN_S):
            yield
    except TimeoutError:
        raise ServerError(f"{target.name} does not answer within {_WITHIN_S:g} s") from None
