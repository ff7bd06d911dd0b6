"""The pool over a run: roles, jobs in flight, depths and steals, and what they show."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

CLASSES = ("short", "long")
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class UnitSeen:
    """One unit at one time; None is what was not said."""

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
    """The pool at a time on the run's clock; `steals` counts from the start of the run."""

    at_s: float
    units: dict[str, UnitSeen]
    depths: dict[str, int | None]
    steals: int | None = None

    @property
    def all_zero(self) -> bool:
        """True only when every count is known and is 0."""
        counts = [count for unit in self.units.values() for count in unit.active.values()]
        return bool(counts) and not any(
            count is None or count != 0 for count in [*counts, *self.depths.values()]
        )


def snapshot(state: Mapping[str, Any], at_s: float, steals: int | None = None) -> Snapshot:
    """Read the body of /v1/state; a field that is missing becomes None, never 0."""
    units = {name: _unit(fields) for name, fields in _mapping(state.get("units")).items()}
    queues = _mapping(state.get("queues"))
    depths = {name: _count(_mapping(queues.get(name)).get("depth")) for name in CLASSES}
    return Snapshot(at_s, units, depths, steals)


def summary(seen: Sequence[Snapshot], failed_polls: int = 0) -> dict[str, Any]:
    """What the snapshots show; flips between two of them that undo each other stay unseen."""
    return {
        "polls": len(seen),
        "failed_polls": failed_polls,
        "max_load": max_loads(seen),
        "max_active": max_active(seen),
        "max_depth": {name: _most(one.depths[name] for one in seen) for name in CLASSES},
        "flips_seen": flips(seen),
        "all_zero_at_end": seen[-1].all_zero if seen else None,
        "timeline": [asdict(one) for one in seen],
    }


def max_loads(seen: Sequence[Snapshot]) -> dict[str, float | None]:
    """The highest load of each unit; None when its limits were never said."""
    names = sorted({name for one in seen for name in one.units})
    return {
        name: _most(one.units[name].load for one in seen if name in one.units) for name in names
    }


def max_active(seen: Sequence[Snapshot]) -> dict[str, dict[str, int | None]]:
    """The most jobs of each class that each unit was seen with."""
    names = sorted({name for one in seen for name in one.units})
    return {
        name: {
            size: _most(one.units[name].active[size] for one in seen if name in one.units)
            for size in CLASSES
        }
        for name in names
    }


def flips(seen: Sequence[Snapshot]) -> dict[str, int]:
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
