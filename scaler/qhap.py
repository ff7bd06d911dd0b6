"""Q-HAP's decision, as a pure function: whether a unit changes its role now.

The script that flips checks the guards and the cooldown again; this is only what the scaler wants.
"""

from dataclasses import dataclass

from common.keys import JobClass
from common.policy import Policy


@dataclass(frozen=True)
class Wanted:
    """The role that a unit is to get, and why in words for people."""

    to: JobClass
    reason: str


@dataclass(frozen=True)
class Flip:
    """A unit that is to change its role."""

    unit: str
    to: JobClass
    reason: str


def decide(short: int, long: int, waiting: int, policy: Policy) -> Wanted | None:
    """At most one change, from so many Short and Long units and so many long jobs that wait.

    Units that are dead or draining do not count. Repairs come first: too few Short units, then too
    few Long ones, whatever the queue says. Then the published rules, with the two thresholds as
    hysteresis. The unit that changes is the one with the fewest jobs in flight of its role, and of
    equals the first by name.
    """
    if wanted := repair(short, long, policy):
        return wanted
    above, below = policy.qhap_scale_up_above, policy.qhap_scale_down_below
    if waiting > above and short > policy.qhap_min_short:
        return Wanted("long", f"{waiting} long jobs wait, more than {above}")
    if waiting < below and long > policy.qhap_min_long:
        return Wanted("short", f"{waiting} long jobs wait, fewer than {below}")
    return None


def repair(short: int, long: int, policy: Policy) -> Wanted | None:
    """What a role with too few units needs, if any unit can be given to it."""
    if short < policy.qhap_min_short:
        return Wanted("short", f"{short} Short units are too few") if long else None
    if long < policy.qhap_min_long and short > policy.qhap_min_short:
        return Wanted("long", f"{long} Long units are too few")
    return None
