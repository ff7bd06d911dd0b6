"""The pool as `/v1/state` and `adasplit status` show it: a pure translation of a view."""

from dataclasses import asdict
from typing import Any

from common.keys import CLASSES, JobClass
from common.models import PoolView, UnitView
from common.policy import Policy


def state_of(pool: str, view: PoolView, policy: Policy) -> dict[str, Any]:
    """`policy` is the one in force, with its live overrides."""
    return {
        "pool": pool,
        "now_ms": view.now_ms,
        "units": {unit.name: _unit(unit, view, policy) for unit in view.units},
        "queues": {
            name: {"depth": view.queues[name].depth, "oldest_s": view.queues[name].oldest_s}
            for name in CLASSES
        },
        "stealing": asdict(view.stealing),
        "policy": {name: getattr(policy, name) for name in Policy.model_fields},
        "overrides": view.overrides,
    }


def _unit(unit: UnitView, view: PoolView, policy: Policy) -> dict[str, Any]:
    return {
        "role": unit.role,
        "alive": unit.alive,
        "draining": unit.draining,
        "active": {"short": unit.short, "long": unit.long},
        "limits": {name: limit_of(unit, view, policy, name) for name in CLASSES},
        "online_limits": {name: online_of(unit, view, policy, name) for name in CLASSES},
        "idle_s": unit.idle_s,
        "heartbeat_s": unit.heartbeat_s,
        "url": unit.url,
        "models": list(unit.models),
        "health": unit.health,
        "reported": unit.reported,
    }


def limit_of(unit: UnitView, view: PoolView, policy: Policy, name: JobClass) -> int:
    """Jobs of a class that fill a unit alone, as its claim counts.

    A limit for the class comes before the general one, and of each a live override before what the
    unit's dispatcher was started with.
    """
    own = {"short": unit.limit_short, "long": unit.limit_long}[name]
    if f"worker_concurrency_limit_{name}" in view.overrides:
        return policy.limit(name)
    if own:
        return own
    if "worker_concurrency_limit" in view.overrides:
        return policy.worker_concurrency_limit
    return unit.limit or policy.limit(name)


def online_of(unit: UnitView, view: PoolView, policy: Policy, name: JobClass) -> int | None:
    """The limit that a unit found for a class, where it looks for one; never above its ceiling."""
    found = unit.online_short if name == "short" else unit.online_long
    return min(found, limit_of(unit, view, policy, name)) if found else None


def held_at_most(unit: UnitView, view: PoolView, policy: Policy, name: JobClass) -> int:
    """Jobs of a class that a unit may hold alone now: the limit it found, else its ceiling."""
    return online_of(unit, view, policy, name) or limit_of(unit, view, policy, name)
