"""How much prefill a unit has before it: estimates from prompts, and from how old claims are."""

from collections.abc import Iterable
from dataclasses import dataclass

from common.adaptive import AdaptivePolicy

_LATE = 2.0
"""A stream without a first byte counts as prefill for so many times its estimate, and no longer."""

_LATE_S = 2.0
"""Or for so long: a short prompt may wait for others, and for a step planned before it came."""

_UNSEEN = 1.2
"""An answer in one piece shows its first byte when all is done: its prefill is as estimated."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """A job that has sent no byte yet. `age_s` counts from its claim."""

    tokens: int
    age_s: float
    streams: bool = True


def brought_s(prefills: Iterable[Prefill], policy: AdaptivePolicy, pace: float) -> float:
    """Prefill time that these jobs brought: of short ones, which share steps, about what is left.

    `pace` is how many times as long as the policy's estimate the unit takes.
    """
    brought = 0.0
    for job in prefills:
        whole_s = policy.prefill_s(job.tokens) * pace
        if job.streams:
            until_s = max(_LATE_S, _LATE * whole_s)
        else:
            until_s = _UNSEEN * (whole_s + policy.adaptive_backlog_s)
        if job.age_s < until_s:
            brought += whole_s
    return brought


def left_s(prefills: Iterable[Prefill], policy: AdaptivePolicy, pace: float) -> float:
    """Prefill time left of long jobs, prefilled one after the other in the order of claims."""
    left = 0.0
    for place, job in enumerate(sorted(prefills, key=lambda job: -job.age_s)):
        whole_s = policy.prefill_s(job.tokens) * pace
        if job.age_s < (_LATE if job.streams else _UNSEEN) * (left + whole_s):
            # Of the first a little is left as long as nothing was sent, whatever the estimate says.
            left += whole_s if place else max(whole_s - job.age_s, whole_s / 10)
    return left
