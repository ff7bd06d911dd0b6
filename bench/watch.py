"""Polls a gateway's /v1/state during a run, and says whether what must hold was seen to hold."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import aiohttp
import orjson

CLASSES = ("short", "long")
_POLL_S = 1.0
_TIMEOUT_S = 5.0
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class UnitSeen:
    """One unit in one poll; None is what the gateway did not say."""

    role: str | None
    alive: bool | None
    active: dict[str, int | None]
    limits: dict[str, int | None]

    @property
    def load(self) -> float | None:
        """The weighted load of the slots' rule, which must never exceed 1."""
        shares = [_share(self.active[name], self.limits[name]) for name in CLASSES]
        known = [share for share in shares if share is not None]
        return sum(known) if len(known) == len(CLASSES) else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One answer of /v1/state, at a time on the run's clock."""

    at_s: float
    units: dict[str, UnitSeen]
    depths: dict[str, int | None]

    @property
    def all_zero(self) -> bool:
        """True only when every count is known and is 0."""
        counts = [count for unit in self.units.values() for count in unit.active.values()]
        return bool(counts) and not any(
            count is None or count != 0 for count in [*counts, *self.depths.values()]
        )


def snapshot(state: Mapping[str, Any], at_s: float) -> Snapshot:
    """Read the body of /v1/state; a field that is missing becomes None, never 0."""
    units = {name: _unit(fields) for name, fields in _mapping(state.get("units")).items()}
    queues = _mapping(state.get("queues"))
    depths = {name: _count(_mapping(queues.get(name)).get("depth")) for name in CLASSES}
    return Snapshot(at_s, units, depths)


@dataclass(slots=True)
class Watcher:
    """Keeps every snapshot of a run; a poll that failed is counted, not guessed."""

    session: aiohttp.ClientSession
    url: str
    clock: Callable[[], float]
    seen: list[Snapshot] = field(default_factory=list)
    failed_polls: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.poll()
            await _wait(stop, _POLL_S)

    async def settle(self, limit_s: float) -> None:
        """Poll until every count is 0, which is soon after the last answer, or for `limit_s`."""
        end_s = self.clock() + limit_s
        while True:
            if await self.poll() or self.clock() >= end_s:
                return
            await asyncio.sleep(_POLL_S / 4)

    async def poll(self) -> bool:
        """Take one snapshot; say whether it was all zero."""
        try:
            found = snapshot(await self._state(), self.clock())
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            self.failed_polls += 1
            return False
        self.seen.append(found)
        return found.all_zero

    def report(self) -> dict[str, Any]:
        """What the snapshots show; flips between two polls that undo each other stay unseen."""
        return {
            "polls": len(self.seen),
            "failed_polls": self.failed_polls,
            "max_load": max_loads(self.seen),
            "max_active": max_active(self.seen),
            "max_depth": {name: _most(one.depths[name] for one in self.seen) for name in CLASSES},
            "flips_seen": flips(self.seen),
            "all_zero_at_end": self.seen[-1].all_zero if self.seen else None,
            "timeline": [asdict(one) for one in self.seen],
        }

    async def _state(self) -> Mapping[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with self.session.get(f"{self.url}/v1/state", timeout=timeout) as answer:
            answer.raise_for_status()
            return _mapping(orjson.loads(await answer.read()))


def max_loads(seen: list[Snapshot]) -> dict[str, float | None]:
    """The highest load of each unit; None when its limits were never said."""
    names = sorted({name for one in seen for name in one.units})
    return {
        name: _most(one.units[name].load for one in seen if name in one.units) for name in names
    }


def max_active(seen: list[Snapshot]) -> dict[str, dict[str, int | None]]:
    """The most jobs of each class that each unit was seen with."""
    names = sorted({name for one in seen for name in one.units})
    return {
        name: {
            size: _most(one.units[name].active[size] for one in seen if name in one.units)
            for size in CLASSES
        }
        for name in names
    }


def flips(seen: list[Snapshot]) -> dict[str, int]:
    """How often a unit's role differed from its last known one, by the role it came to."""
    found: Counter[str] = Counter(dict.fromkeys(CLASSES, 0))
    roles: dict[str, str] = {}
    for one in seen:
        for name, unit in one.units.items():
            if unit.role is None:
                continue
            if roles.get(name, unit.role) != unit.role:
                found[unit.role] += 1
            roles[name] = unit.role
    return dict(found)


def _unit(fields: Any) -> UnitSeen:
    unit = _mapping(fields)
    active, limits = _mapping(unit.get("active")), _mapping(unit.get("limits"))
    return UnitSeen(
        role=unit.get("role"),
        alive=unit.get("alive"),
        active={name: _count(active.get(name)) for name in CLASSES},
        limits={name: _count(limits.get(name)) for name in CLASSES},
    )


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _count(found: Any) -> int | None:
    return None if found is None else int(found)


def _share(active: int | None, limit: int | None) -> float | None:
    return None if active is None or not limit else active / limit


def _most(values: Iterable[_Number | None]) -> _Number | None:
    return max((value for value in values if value is not None), default=None)


async def _wait(stop: asyncio.Event, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await stop.wait()
    except TimeoutError:
        pass
