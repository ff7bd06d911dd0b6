"""What `/v1/state` says, back in the shape that the pages show."""

from collections.abc import Mapping
from typing import Any, cast

from common.keys import CLASSES, JobClass
from common.models import PoolView, QueueView, UnitView
from common.steals import Stealing


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
        stealing=Stealing(**(state.get("stealing") or {})),
    )


def _unit_view(name: str, unit: Mapping[str, Any]) -> UnitView:
    limits, online = unit.get("limits") or {}, unit.get("online_limits") or {}
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
        online_short=int(online.get("short") or 0),
        online_long=int(online.get("long") or 0),
        health=unit.get("health") or "",
    )
