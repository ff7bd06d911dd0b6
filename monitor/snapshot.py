"""What the monitor knows at one moment, and the flat rows that a recording has of it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from monitor.history import Activity

CLASSES = ("short", "long")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PoolSide:
    """What AdaSplit says of a unit; None is what it does not say."""

    role: str | None = None
    alive: bool | None = None
    draining: bool | None = None
    active_short: int | None = None
    active_long: int | None = None
    limit_short: int | None = None
    limit_long: int | None = None
    online_short: int | None = None
    online_long: int | None = None


@dataclass(frozen=True, slots=True)
class UnitSide:
    """What a unit says of itself; all None but `age_s` when it does not answer now.

    `age_s`: seconds since it last answered; None when it never has.
    """

    age_s: float | None = None
    running: float | None = None
    waiting: float | None = None
    kv_cache_usage: float | None = None
    prompt_tokens_total: float | None = None
    generation_tokens_total: float | None = None
    requests_total: float | None = None


@dataclass(frozen=True, slots=True)
class UnitSample:
    """One unit at one moment. `answers`: whether its `/metrics` answered now."""

    name: str
    url: str
    answers: bool
    pool: PoolSide
    unit: UnitSide
    activity: Activity
    reason: str = ""

    @property
    def state(self) -> str:
        """One word; AdaSplit's verdict comes first, as it decides whether the unit gets jobs."""
        if self.pool.alive is False:
            return "dead"
        if not self.answers:
            return "stale" if self.unit.age_s is not None else "silent"
        return "draining" if self.pool.draining else "ok"


@dataclass(frozen=True, slots=True)
class QueueSample:
    """A class's queue; None is not known. `oldest_s` is None also when nothing waits."""

    name: str
    depth: int | None = None
    oldest_s: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All units and queues. `no_state`: why the pool's state is not known; empty when it is."""

    at: datetime
    units: tuple[UnitSample, ...]
    queues: tuple[QueueSample, ...]
    no_state: str = ""

    def rows(self) -> Iterator[Row]:
        """One flat row for each queue and each unit; unknown is None."""
        time = self.at.isoformat(timespec="milliseconds")
        for queue in self.queues:
            yield {"time": time, "kind": "queue", **asdict(queue)}
        for unit in self.units:
            yield {
                "time": time,
                "kind": "unit",
                "name": unit.name,
                "url": unit.url,
                "state": unit.state,
                **asdict(unit.pool),
                **asdict(unit.unit),
                **asdict(unit.activity),
            }


def _names(*kinds: type) -> list[str]:
    return [one.name for kind in kinds for one in fields(kind)]


COLUMNS = (
    *("time", "kind", "name", "depth", "oldest_s", "url", "state"),
    *_names(PoolSide, UnitSide, Activity),
)
"""Every column of a recording, in order."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What `/v1/state` says of units and queues; of a pool that is not known, unknown queues."""

    urls: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, PoolSide] = field(default_factory=dict)
    queues: tuple[QueueSample, ...] = tuple(QueueSample(name) for name in CLASSES)


def read_pool(state: Mapping[str, Any]) -> Pool:
    """What is absent stays unknown. Raises AttributeError or TypeError for another shape."""
    units = (state.get("units") or {}).items()
    queues = state.get("queues") or {}
    found = {name: queues.get(name) or {} for name in CLASSES}
    return Pool(
        urls={name: str(unit.get("url") or "") for name, unit in units},
        units={name: _pool_side(unit) for name, unit in units},
        queues=tuple(
            QueueSample(name, queue.get("depth"), queue.get("oldest_s"))
            for name, queue in found.items()
        ),
    )


def _pool_side(unit: Mapping[str, Any]) -> PoolSide:
    active, limits = unit.get("active") or {}, unit.get("limits") or {}
    online = unit.get("online_limits") or {}
    return PoolSide(
        role=unit.get("role"),
        alive=unit.get("alive"),
        draining=unit.get("draining"),
        active_short=active.get("short"),
        active_long=active.get("long"),
        limit_short=limits.get("short"),
        limit_long=limits.get("long"),
        online_short=online.get("short"),
        online_long=online.get("long"),
    )
