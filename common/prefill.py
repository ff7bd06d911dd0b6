"""How much prefill a unit has before it: estimates from prompts, and from how old claims are."""

from collections.abc import Iterable
from dataclasses import dataclass

from common.adaptive import AdaptivePolicy

_DOUBT = 2.0
"""An answer without a first byte counts as prefill for so many times the estimate, and no longer:
one that is not streamed has its first byte when all is done."""

_SHORTEST_DOUBT_S = 1.0
"""A short prompt may wait for others, and for a step that was planned before it came."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """A job that has sent no byte yet. `age_s` counts from its claim."""

    tokens: int
    age_s: float


def brought_s(prefills: Iterable[Prefill], policy: AdaptivePolicy, pace: float) -> float:
    """Prefill time that these jobs brought: of short ones, which share steps, about what is left.

    `pace` is how many times as long as the policy's estimate the unit takes.
    """
    brought = 0.0
    for job in prefills:
        whole_s = policy.prefill_s(job.tokens) * pace
        if job.age_s < _DOUBT * max(_SHORTEST_DOUBT_S, whole_s):
            brought += whole_s
    return brought


def left_s(prefills: Iterable[Prefill], policy: AdaptivePolicy, pace: float) -> float:
    """Prefill time left of long jobs, prefilled one after the other in the order of claims."""
    left = 0.0
    for place, job in enumerate(sorted(prefills, key=lambda job: -job.age_s)):
        whole_s = policy.prefill_s(job.tokens) * pace
        if job.age_s < _DOUBT * (left + whole_s):
            # Of the first a little is left as long as nothing was sent, whatever the estimate says.
            left += whole_s if place else max(whole_s - job.age_s, whole_s / 10)
    return left
