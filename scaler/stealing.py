"""How bold steals may be, from what the last ones cost: a pure function of what is measured.

Additive increase and multiplicative decrease, as in congestion control (Chiu and Jain, 1989): when
steals have cost too much, what may be stolen is halved and how idle a unit must be before is
doubled; time brings both back, step by step.
"""

from dataclasses import dataclass

from common.policy import Policy
from common.steals import Stealing


@dataclass(frozen=True, slots=True)
class StealLimits:
    """How long a unit must have been idle before it steals, and how large a prompt it may take."""

    idle_s: float
    tokens: float
    debt_s: float = 0.0
    """What the last steals have cost beyond their share: a single small one proves nothing."""

    def rounded(self) -> tuple[float, int]:
        """As others are told: not every step of the way is worth a write."""
        return round(self.idle_s, 1), round(self.tokens / 256) * 256


def first_limits(known: Stealing, policy: Policy) -> StealLimits:
    """Where another scaler left them, or as the published rules say."""
    idle_s = policy.rasp_steal_cooldown_s if known.idle_s is None else known.idle_s
    tokens = policy.adaptive_steal_tokens_most if known.tokens is None else known.tokens
    return _bounded(StealLimits(idle_s, tokens), policy)


def next_limits(
    limits: StealLimits, before: Stealing, now: Stealing, passed_s: float, policy: Policy
) -> StealLimits:
    """After some time, in which the steals between two looks were over."""
    share = passed_s / policy.adaptive_steal_recovery_s
    idle_range_s = policy.adaptive_steal_idle_most_s - policy.rasp_steal_cooldown_s
    token_range = policy.adaptive_steal_tokens_most - policy.adaptive_steal_tokens_least
    debt_s = max(0.0, limits.debt_s + _excess_s(before, now, policy))
    if debt_s > policy.adaptive_steal_debt_s:
        return _bounded(StealLimits(2 * limits.idle_s, limits.tokens / 2), policy)
    idle_s = limits.idle_s - share * idle_range_s
    return _bounded(StealLimits(idle_s, limits.tokens + share * token_range, debt_s), policy)


def _excess_s(before: Stealing, now: Stealing, policy: Policy) -> float:
    # A Redis without its memory counts from 0 again.
    if now.steals <= before.steals:
        return 0.0
    regret_s, prefill_s = now.regret_s - before.regret_s, now.prefill_s - before.prefill_s
    return regret_s - policy.adaptive_steal_regret_share * prefill_s


def _bounded(limits: StealLimits, policy: Policy) -> StealLimits:
    idle_s = min(limits.idle_s, policy.adaptive_steal_idle_most_s)
    tokens = min(limits.tokens, policy.adaptive_steal_tokens_most)
    return StealLimits(
        max(idle_s, policy.rasp_steal_cooldown_s),
        max(tokens, policy.adaptive_steal_tokens_least),
        limits.debt_s,
    )
