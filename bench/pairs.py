"""Compares two addresses request by request, in turn, so that both meet the same machine."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from bench.client import JSON_HEADERS, ServerError, chat_body
from bench.sse import StreamMeter, error_name
from bench.stats import spread

_HTTP_OK = 200


@dataclass(frozen=True, slots=True)
class Timing:
    """One answer, timed from just before the request; an answer in one piece has no first token."""

    total_s: float
    first_token_s: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """The same request to both addresses, one directly after the other."""

    direct: Timing
    gateway: Timing


@dataclass(frozen=True, slots=True)
class Probe:
    """A tiny request, always the same, streamed or not."""

    model: str
    prompt: str
    output_tokens: int
    stream: bool

    async def time(self, session: aiohttp.ClientSession, url: str) -> Timing:
        """Send it once; ServerError when the answer is anything but whole."""
        body = chat_body(self.model, self.prompt, self.output_tokens, stream=self.stream)
        read = self._read_stream if self.stream else self._read_whole
        start_s = time.perf_counter()
        async with session.post(
            f"{url}/v1/chat/completions", data=body, headers=JSON_HEADERS
        ) as answer:
            if answer.status != _HTTP_OK:
                raise ServerError(f"{url} answered {answer.status}: {await answer.text()}")
            return await read(answer, start_s)

    async def _read_whole(self, answer: aiohttp.ClientResponse, start_s: float) -> Timing:
        body = await answer.read()
        timing = Timing(time.perf_counter() - start_s)
        if "choices" not in (found := orjson.loads(body)):
            raise ServerError(f"{answer.url} answered an error: {error_name(found)}")
        return timing

    async def _read_stream(self, answer: aiohttp.ClientResponse, start_s: float) -> Timing:
        meter = StreamMeter()
        while chunk := await answer.content.readany():
            meter.feed(chunk, time.perf_counter() - start_s)
        timing = Timing(time.perf_counter() - start_s, meter.first_s)
        if (outcome := meter.outcome(self.output_tokens)) != "ok":
            raise ServerError(f"{answer.url} did not answer as asked: {outcome}")
        return timing


async def measure(
    session: aiohttp.ClientSession,
    probe: Probe,
    *,
    direct_url: str,
    gateway_url: str,
    pairs: int,
    warm_up: int,
    pause_s: float,
) -> list[Pair]:
    """Send `pairs` pairs after `warm_up` that do not count; who goes first changes each time."""
    found = []
    for number in range(warm_up + pairs):
        if number % 2:
            direct = await probe.time(session, direct_url)
            gateway = await probe.time(session, gateway_url)
        else:
            gateway = await probe.time(session, gateway_url)
            direct = await probe.time(session, direct_url)
        found.append(Pair(direct, gateway))
        await asyncio.sleep(pause_s)
    return found[warm_up:]


def compared(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Figures in seconds for the whole answer and, when streamed, for the first token."""
    whole = _compared([one.direct.total_s for one in pairs], [one.gateway.total_s for one in pairs])
    first = [
        (one.direct.first_token_s, one.gateway.first_token_s)
        for one in pairs
        if one.direct.first_token_s is not None and one.gateway.first_token_s is not None
    ]
    if not first:
        return {"e2e": whole}
    return {"ttft": _compared([one for one, _ in first], [one for _, one in first]), "e2e": whole}


def _compared(direct_s: Sequence[float], gateway_s: Sequence[float]) -> dict[str, Any]:
    direct, gateway = spread(direct_s), spread(gateway_s)
    added = [late - early for early, late in zip(direct_s, gateway_s, strict=True)]
    return {
        "direct_s": direct,
        "gateway_s": gateway,
        "added_s": {rank: _less(gateway[rank], direct[rank]) for rank in ("p50", "p90", "p99")},
        "added_paired_s": spread(added),
    }


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
