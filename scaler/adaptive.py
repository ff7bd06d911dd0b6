"""The adaptive decision, as a pure function: which one unit changes its role now, if any.

It counts in prefill time: what short jobs bring in a second, what waits, and what each unit would
have to prefill before it is of use to the other group. docs/policy.md gives the reasons; the script
that flips checks the guards and the cooldown again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.models import PoolView, Prefilling, UnitView
from common.policy import Policy
from common.state import held_at_most
from scaler.demand import Demand
from scaler.qhap import Flip, repair

_BACKLOG_HORIZON_S = 5.0
"""A backlog counts as if it were to be worked off in this time, beside what arrives."""

_LONG_STAKE = 4
"""A long job that decodes is held up as well, and takes the slots of several short ones."""


@dataclass(frozen=True, slots=True)
class UnitWork:
    """Prefill time left at a unit, by class, and how many long jobs are being prefilled."""

    short_s: float = 0.0
    long_s: float = 0.0
    long_prefills: int = 0


_IDLE = UnitWork()


@dataclass(frozen=True)
class Snapshot:
    """All that the decision needs. `next_long_s` is the prefill time of the next long job."""

    view: PoolView
    work: dict[str, UnitWork] = field(default_factory=dict)
    demand: Demand = field(default_factory=Demand)
    next_long_s: float = 0.0
    prefilling: tuple[Prefilling, ...] = ()

    def of(self, unit: UnitView) -> UnitWork:
        return self.work.get(unit.name, _IDLE)


def live(view: PoolView) -> list[UnitView]:
    """The units that count: alive, and taking jobs."""
    return [unit for unit in view.units if unit.alive and not unit.draining]


def decide(seen: Snapshot, policy: Policy) -> Flip | None:
    """At most one flip. Units that are dead or draining neither count nor flip.

    Repairs come first, as with the published rules; then what short jobs need; then what the Short
    group can spare for long jobs that wait.
    """
    groups = _groups(seen)
    short, long = groups.short, groups.long
    if wanted := repair(len(short), len(long), policy):
        chosen = min(short if wanted.to == "long" else long, key=lambda u: (u.in_flight, u.name))
        return Flip(chosen.name, wanted.to, wanted.reason)
    if len(long) > policy.qhap_min_long and (why := _short_needs(seen, groups, policy)):
        return _take_back(seen, long, policy, why)
    if len(short) > policy.qhap_min_short and _long_needs(seen, long, policy):
        return _give(seen, groups, policy)
    return None


@dataclass(slots=True)
class _Groups:
    """The units that count, by role, and what short jobs bring to the Short ones.

    `clear`: Short units that prefill no long job: only these are of use to short ones now. `load`:
    the prefill work of short jobs, in units that it would keep busy.
    """

    short: list[UnitView] = field(default_factory=list)
    long: list[UnitView] = field(default_factory=list)
    clear: list[UnitView] = field(default_factory=list)
    load: float = 0.0


def _groups(seen: Snapshot) -> _Groups:
    """In one pass: there may be thousands of units."""
    groups, work_of = _Groups(), seen.work.get
    short_s = seen.view.queues["short"].depth * seen.demand.job_s
    for unit in seen.view.units:
        if not unit.alive or unit.draining:
            continue
        if unit.role == "long":
            groups.long.append(unit)
            continue
        groups.short.append(unit)
        work = work_of(unit.name, _IDLE)
        short_s += work.short_s
        if not work.long_prefills:
            groups.clear.append(unit)
    groups.load = seen.demand.load + short_s / _BACKLOG_HORIZON_S
    return groups


def _needed(load: float, margin: float) -> float:
    """Units that a load needs, by the square-root rule: the more units share it, the less is spare.

    Halfin and Whitt, Heavy-traffic limits for queues with many exponential servers, 1981.
    """
    return load + margin * math.sqrt(load)


def _short_needs(seen: Snapshot, groups: _Groups, policy: Policy) -> str:
    waited_s = seen.view.queues["short"].oldest_s
    if waited_s is not None and waited_s >= policy.adaptive_take_wait_s:
        return f"a short job has waited {waited_s:.1f} s"
    load, units = groups.load, len(groups.clear)
    if _needed(load, policy.adaptive_take_margin) > max(1, units):
        return f"a prefill load of {load:.2f} is much for {units} Short units"
    return ""


def _take_back(seen: Snapshot, long: Sequence[UnitView], policy: Policy, why: str) -> Flip | None:
    """The Long unit that is of use soonest, and among equals the one with the fewest long jobs."""
    near = [unit for unit in long if seen.of(unit).long_s < policy.adaptive_free_within_s]
    chosen = min(near, key=lambda u: (round(seen.of(u).long_s, 1), u.long, u.name), default=None)
    return None if chosen is None else Flip(chosen.name, "short", why)


def _long_needs(seen: Snapshot, long: Sequence[UnitView], policy: Policy) -> bool:
    """Whether more long jobs wait than Long units can begin with now."""
    waiting = seen.view.queues["long"].depth
    if not waiting or seen.view.queues["short"].depth:
        return False
    return waiting > sum(_can_begin(seen, unit, policy) for unit in long)


def _can_begin(seen: Snapshot, unit: UnitView, policy: Policy) -> bool:
    if seen.of(unit).long_prefills >= policy.adaptive_long_prefills:
        return False
    limit_short = held_at_most(unit, seen.view, policy, "short")
    limit_long = held_at_most(unit, seen.view, policy, "long")
    return unit.short * limit_long + (unit.long + 1) * limit_short <= limit_short * limit_long


def _stake(unit: UnitView, work: UnitWork) -> float:
    """What a long prefill here holds up, in short jobs; a second of their prefill counts 10."""
    return unit.short + _LONG_STAKE * unit.long + 10 * work.short_s


def _give(seen: Snapshot, groups: _Groups, policy: Policy) -> Flip | None:
    """The Short unit whose short jobs lose least, if the others can carry its part.

    They must be able to as long as the prefill that it begins: nothing takes it back before.
    """
    clear = groups.clear
    if len(clear) <= policy.qhap_min_short:
        return None
    load, left = groups.load, len(clear) - 1
    margin = policy.adaptive_give_margin * (1 + seen.next_long_s / policy.adaptive_commitment_s)
    if _needed(load, margin) >= left:
        return None
    work_of = seen.work.get
    chosen = min(clear, key=lambda u: (_stake(u, work_of(u.name, _IDLE)), u.name))
    waiting = seen.view.queues["long"].depth
    return Flip(
        chosen.name, "long", f"{waiting} long jobs wait, {left} Short units can carry {load:.2f}"
    )
