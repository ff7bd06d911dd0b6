"""Which long job a unit is to hand back for short ones that wait, if any: a pure function.

The script that asks for it checks again that this is of use, and how often the job was asked back.
"""

import math
from dataclasses import dataclass

from common.models import Prefilling
from common.policy import Policy
from common.prefill import Prefill, left_s
from scaler.adaptive import Snapshot, live


@dataclass(frozen=True)
class Revocation:
    """A job that is to be handed back, and why in words for people.

    `lost_s`: about how much of its prefill is thrown away. `flips`: its unit is to become Short
    first, else it would take the job again.
    """

    found: Prefilling
    lost_s: float
    reason: str
    flips: bool

    @property
    def unit(self) -> str:
        return self.found.unit


def decide(seen: Snapshot, policy: Policy, budget_s: float) -> Revocation | None:
    """At most one: of the prefills that last too long, the one that has done least.

    `budget_s`: prefill work that may be thrown away now. What Short units have stolen goes first.
    """
    waited_s = seen.view.queues["short"].oldest_s
    if waited_s is None or waited_s < policy.adaptive_revoke_wait_s:
        return None
    ahead_s = _ahead_s(seen)
    if ahead_s < policy.adaptive_revoke_ahead_s:
        return None
    units = {unit.name: unit for unit in live(seen.view)}
    spare_long = sum(unit.role == "long" for unit in units.values()) > policy.qhap_min_long
    reason = f"a short job has waited {waited_s:.1f} s and would for {ahead_s:.1f} s more"
    found = [
        Revocation(job, lost_s, reason, flips=units[job.unit].role == "long")
        for job in seen.prefilling
        if job.job_class == "long"
        and job.unit in units
        and (spare_long or units[job.unit].role == "short")
        and job.revoked < policy.adaptive_revocations
        and (lost_s := _age_s(job, seen)) <= budget_s
        and _left_s(job, seen, units[job.unit].pace, policy) > policy.adaptive_revoke_ahead_s
    ]
    return min(found, key=lambda each: (each.flips, each.lost_s, each.found.job), default=None)


def _ahead_s(seen: Snapshot) -> float:
    """About how long until a Short unit has prefilled what now waits, or is free to begin."""
    short = [unit for unit in live(seen.view) if unit.role == "short"]
    clear = [unit for unit in short if not seen.of(unit).long_prefills]
    soonest_s = min((seen.of(unit).long_s for unit in short), default=math.inf)
    if not clear:
        return soonest_s
    waiting_s = seen.view.queues["short"].depth * seen.demand.job_s
    return (waiting_s + sum(seen.of(unit).short_s for unit in clear)) / len(clear)


def _age_s(job: Prefilling, seen: Snapshot) -> float:
    return max(0, seen.view.now_ms - job.claimed_ms) / 1000


def _left_s(job: Prefilling, seen: Snapshot, pace: float, policy: Policy) -> float:
    return left_s([Prefill(job.tokens, _age_s(job, seen), job.streams)], policy, pace)


class Budget:
    """Prefill work that may be thrown away: a share of the units' time, with some of it saved."""

    SAVED_S = 20.0

    def __init__(self) -> None:
        self.left_s = self.SAVED_S

    def grow(self, units: int, passed_s: float, policy: Policy) -> None:
        grown_s = units * passed_s * policy.adaptive_revoke_share
        self.left_s = min(self.SAVED_S, self.left_s + grown_s)

    def spend(self, seconds: float) -> None:
        self.left_s -= seconds
