"""What a unit's next claim may bring under the adaptive policy: a pure function.

A unit prefills in the order in which prompts came, so whoever is claimed behind a long prefill only
waits there instead of in the queue, where any unit could still take it. The dispatcher decides
that, as it alone knows at once which of its jobs have had their first byte.
"""

import math
from dataclasses import dataclass

from common.adaptive import AdaptivePolicy
from common.keys import JobClass
from common.models import Bounds
from common.prefill import Prefill, brought_s, left_s
from common.steals import Stealing

UNKNOWN = Stealing()
"""Before any steal: the settings say what it may be."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """What a dispatcher knows of its unit.

    The prompts of its jobs that have sent no byte yet, by class; how many short jobs it holds in
    all; the role that its last claim said, and for how long; its pace (see `left_s`).
    """

    short: tuple[Prefill, ...] = ()
    long: tuple[Prefill, ...] = ()
    short_held: int = 0
    role: JobClass = "short"
    role_age_s: float = math.inf
    pace: float = 1.0


def bounds(unit: UnitState, policy: AdaptivePolicy, stealing: Stealing = UNKNOWN) -> Bounds:
    """For either role: a claim asks without knowing which the unit has by now."""
    if not policy.adaptive:
        return Bounds()
    return Bounds(
        short_tokens=_short(unit, policy),
        long_jobs=_long(unit, policy),
        oldest_every=policy.adaptive_oldest_every,
        steal_tokens=stealing.tokens,
        steal_idle_s=stealing.idle_s,
    )


def _short(unit: UnitState, policy: AdaptivePolicy) -> int:
    if left_s(unit.long, policy, unit.pace) > policy.adaptive_beside_s:
        return 0
    room_s = policy.adaptive_backlog_s - brought_s(unit.short, policy, unit.pace)
    return max(0, math.ceil(room_s / unit.pace / policy.prefill_1k_tokens_s * 1000))


def _long(unit: UnitState, policy: AdaptivePolicy) -> int:
    drains = unit.role == "short" or unit.role_age_s < policy.adaptive_drain_s
    if unit.short_held and drains:
        return 0
    prefilled_now = sum(left_s([job], policy, unit.pace) > 0 for job in unit.long)
    return max(0, policy.adaptive_long_prefills - prefilled_now)
