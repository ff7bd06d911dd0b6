"""Polls a gateway's /v1/state, and its counters of steals, during a run."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from bench.counters import scrape, total
from bench.timeline import Snapshot, snapshot, summary

_POLL_S = 1.0
_LEAST_POLL_S = 0.25
_TIMEOUT_S = 5.0
_STEALS = "adasplit_steals_total"


@dataclass(slots=True)
class Watcher:
    """Keeps every snapshot of a run; a poll that failed is counted, not guessed.

    `clock` may run `speed` times faster than life; polls are then closer together, down to 0.25 s.
    """

    session: aiohttp.ClientSession
    url: str
    clock: Callable[[], float]
    speed: float = 1.0
    metrics: Sequence[str] = ()
    seen: list[Snapshot] = field(default_factory=list)
    failed_polls: int = 0
    _steals_before: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        self._steals_before = await self._steals()
        while not stop.is_set():
            await self.poll()
            await _wait(stop, max(_LEAST_POLL_S, _POLL_S / self.speed))

    async def settle(self, limit_s: float) -> None:
        """Poll until every count is 0, which is soon after the last answer, or for `limit_s`."""
        end_s = self.clock() + limit_s
        while True:
            if await self.poll() or self.clock() >= end_s:
                return
            await asyncio.sleep(_LEAST_POLL_S)

    async def poll(self) -> bool:
        """Take one snapshot; say whether it was all zero."""
        try:
            found = snapshot(await self._state(), self.clock(), await self._steals_since())
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            self.failed_polls += 1
            return False
        self.seen.append(found)
        return found.all_zero

    def report(self) -> dict[str, Any]:
        return summary(self.seen, self.failed_polls)

    async def _state(self) -> Mapping[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with self.session.get(f"{self.url}/v1/state", timeout=timeout) as answer:
            answer.raise_for_status()
            state = orjson.loads(await answer.read())
            return state if isinstance(state, Mapping) else {}

    async def _steals(self) -> float | None:
        pages = await scrape(self.session, self.metrics)
        return total(pages.values(), _STEALS)

    async def _steals_since(self) -> int | None:
        if self._steals_before is None or (now := await self._steals()) is None:
            return None
        return round(now - self._steals_before)


async def _wait(stop: asyncio.Event, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await stop.wait()
    except TimeoutError:
        pass
