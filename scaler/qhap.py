"""Q-HAP's decision, as a pure function: which one unit changes its role now, if any.

The script that flips checks the guards and the cooldown again; this is only what the scaler wants.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from common.keys import JobClass
from common.models import PoolView, UnitView
from common.policy import Policy


@dataclass(frozen=True)
class Flip:
    """A unit that is to change its role, and why in words for people."""

    unit: str
    to: JobClass
    reason: str


def decide(view: PoolView, policy: Policy) -> Flip | None:
    """At most one flip. Units that are dead or draining neither count nor flip.

    Repairs come first: too few Short units, then too few Long ones, whatever the queue says. Then
    the published rules, with the two thresholds as hysteresis.
    """
    units = [unit for unit in view.units if unit.alive and not unit.draining]
    short = [unit for unit in units if unit.role == "short"]
    long = [unit for unit in units if unit.role == "long"]
    spare_short = len(short) > policy.qhap_min_short
    spare_long = len(long) > policy.qhap_min_long
    depth = view.queues["long"].depth
    above, below = policy.qhap_scale_up_above, policy.qhap_scale_down_below
    if flip := repair(short, long, policy):
        return flip
    if depth > above and spare_short:
        return _flip(short, "long", f"{depth} long jobs wait, more than {above}")
    if depth < below and spare_long:
        return _flip(long, "short", f"{depth} long jobs wait, fewer than {below}")
    return None


def repair(short: Sequence[UnitView], long: Sequence[UnitView], policy: Policy) -> Flip | None:
    """The flip that a role with too few units needs, if any."""
    if len(short) < policy.qhap_min_short:
        return _flip(long, "short", f"{len(short)} Short units are too few")
    if len(long) < policy.qhap_min_long and len(short) > policy.qhap_min_short:
        return _flip(short, "long", f"{len(long)} Long units are too few")
    return None


def _flip(units: Iterable[UnitView], to: JobClass, reason: str) -> Flip | None:
    chosen = min(units, key=lambda unit: (unit.in_flight, unit.name), default=None)
    return None if chosen is None else Flip(chosen.name, to, reason)
