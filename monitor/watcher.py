"""Looks at all units and at the pool together, once for each snapshot."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from monitor.scraper import Look, Scraper
from monitor.snapshot import Pool, PoolSide, Snapshot, UnitSample, UnitSide, read_pool

_FORGOTTEN_AFTER_S = 600.0

State = Mapping[str, Any]
"""The pool's state, in the shape of `/v1/state`."""


class StateUnknownError(Exception):
    """The pool's state cannot be had; the message is one line."""


AskState = Callable[[], Awaitable[State]]


class Watcher:
    """Units are those given by name and URL, and those that the pool's state names.

    A given URL comes before that of the state. A unit that the state named once is looked at
    further, also while the state is unknown. One that has left the pool, as a unit does that its
    dispatcher finds unwell, counts as dead, and is forgotten when it has been silent for long.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        ask_state: AskState,
        given: Mapping[str, str],
        window_s: float,
    ) -> None:
        self._client = client
        self._ask_state = ask_state
        self._given = given
        self._window_s = window_s
        self._named: dict[str, str] = {}
        self._scrapers: dict[str, Scraper] = {}

    async def snapshot(self) -> Snapshot:
        at = datetime.now(UTC)
        pool, no_state = await self._pool()
        self._named |= pool.urls
        left = set() if no_state else self._named.keys() - pool.units.keys()
        scrapers = self._current()
        found = await asyncio.gather(*(scraper.look() for scraper in scrapers.values()))
        looks = dict(zip(scrapers, found, strict=True))
        for name in left:
            if _long_silent(looks[name]) and name not in self._given:
                del looks[name], self._named[name]
        gone = PoolSide(alive=False)
        units = [
            _unit_sample(
                name,
                scrapers[name].url,
                pool.units.get(name, gone if name in left else PoolSide()),
                look,
            )
            for name, look in looks.items()
        ]
        return Snapshot(at, tuple(units), pool.queues, no_state)

    async def _pool(self) -> tuple[Pool, str]:
        try:
            return read_pool(await self._ask_state()), ""
        except StateUnknownError as error:
            return Pool(), str(error)
        except (AttributeError, TypeError) as error:
            return Pool(), f"the state is not understood: {error}"

    def _current(self) -> dict[str, Scraper]:
        """A scraper for each unit, kept for as long as its URL is the same."""
        urls = dict(sorted((self._named | dict(self._given)).items()))
        self._scrapers = {name: self._scraper(name, url) for name, url in urls.items()}
        return self._scrapers

    def _scraper(self, name: str, url: str) -> Scraper:
        known = self._scrapers.get(name)
        if known is not None and known.url == url:
            return known
        return Scraper(self._client, url, self._window_s)


def _long_silent(look: Look) -> bool:
    return look.reading is None and (look.age_s is None or look.age_s > _FORGOTTEN_AFTER_S)


def _unit_sample(name: str, url: str, pool: PoolSide, look: Look) -> UnitSample:
    return UnitSample(
        name=name,
        url=url,
        answers=look.reading is not None,
        pool=pool,
        unit=_unit_side(look),
        activity=look.activity,
        reason=look.reason,
    )


def _unit_side(look: Look) -> UnitSide:
    reading = look.reading
    if reading is None:
        return UnitSide(age_s=look.age_s)
    totals = {
        f"{name}_total": count.value
        for name, count in reading.counts.items()
        if name in {"prompt_tokens", "generation_tokens", "requests"}
    }
    return UnitSide(
        age_s=look.age_s,
        running=reading.running,
        waiting=reading.waiting,
        kv_cache_usage=reading.kv_cache_usage,
        **totals,
    )
