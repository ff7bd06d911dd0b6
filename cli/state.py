"""The pool's state as `/v1/state` gives it, and back into the shape that the pages show."""

from collections.abc import Mapping
from typing import Any, cast

from common.keys import CLASSES, JobClass
from common.models import PoolView, QueueView, UnitView
from common.policy import Policy


def state_of(view: PoolView, policy: Policy, pool: str) -> dict[str, Any]:
    """What the gateway's `/v1/state` would say."""
    return {
        "pool": pool,
        "units": {unit.name: _unit(unit, policy, view) for unit in view.units},
        "queues": {
            name: {"depth": queue.depth, "oldest_s": queue.oldest_s}
            for name, queue in view.queues.items()
        },
        "policy": {name: getattr(policy, name) for name in Policy.model_fields},
    }


def view_of(state: Mapping[str, Any]) -> PoolView:
    """A view of what `/v1/state` says. Raises KeyError or TypeError when it is something else."""
    queues = {name: state["queues"][name] for name in CLASSES}
    return PoolView(
        now_ms=0,
        units=tuple(_unit_view(name, unit) for name, unit in sorted(state["units"].items())),
        queues={
            name: QueueView(queue["depth"], queue.get("oldest_s"), taken=0)
            for name, queue in queues.items()
        },
        overrides={},
    )


def _unit(unit: UnitView, policy: Policy, view: PoolView) -> dict[str, Any]:
    return {
        "role": unit.role,
        "alive": unit.alive,
        "draining": unit.draining,
        "active": {"short": unit.short, "long": unit.long},
        "limits": {name: limit_of(unit, name, policy, view) for name in CLASSES},
        "idle_s": unit.idle_s,
        "heartbeat_s": unit.heartbeat_s,
        "url": unit.url,
        "models": list(unit.models),
        "health": unit.health,
    }


def limit_of(unit: UnitView, job_class: JobClass, policy: Policy, view: PoolView) -> int:
    """Jobs of a class that fill a unit alone: its own limit, unless a live override beats it."""
    own = {"short": unit.limit_short, "long": unit.limit_long}[job_class]
    overriding = {"worker_concurrency_limit", f"worker_concurrency_limit_{job_class}"}
    return policy.limit(job_class) if overriding & view.overrides.keys() or not own else own


def _unit_view(name: str, unit: Mapping[str, Any]) -> UnitView:
    limits = unit.get("limits") or {}
    return UnitView(
        name=name,
        role=cast("JobClass", unit["role"]),
        alive=bool(unit["alive"]),
        draining=bool(unit.get("draining")),
        short=int(unit["active"]["short"]),
        long=int(unit["active"]["long"]),
        idle_s=unit.get("idle_s"),
        heartbeat_s=unit.get("heartbeat_s"),
        url=unit.get("url") or "",
        models=tuple(unit.get("models") or ()),
        limit_short=int(limits.get("short") or 0),
        limit_long=int(limits.get("long") or 0),
        health=unit.get("health") or "",
    )
