"""How many jobs of a class a unit may hold, from what its streams feel: a pure decision.

Additive increase, multiplicative decrease, which alone settles on what can be had: D.-M. Chiu and
R. Jain, Analysis of the increase and decrease algorithms for congestion avoidance, Computer
Networks and ISDN Systems 17, 1989. It doubles at first, as TCP does (V. Jacobson, Congestion
avoidance and control, SIGCOMM 1988). From Netflix's concurrency-limits come that a limit which
nobody reaches does not grow (AIMDLimit), and a decrease that follows the gradient, wanted by
measured (Gradient2Limit).
"""

import math
from dataclasses import dataclass, replace

_KEEP = 0.9
"""From this share of what is wanted on a limit stays as it is: noise is not to move it."""

_DOUBLE = 0.5
"""Below this share of what is wanted a limit doubles, as long as it never was too high."""

_UNFELT = 0.25
"""With more of its jobs still before their first byte, a unit does not feel yet what it holds."""

_DEEPEST = 0.7
"""What one decrease leaves at least; the next follows when the unit has come down to it."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Jobs that fill a unit alone. `doubles`: no decrease was ever needed."""

    jobs: int
    doubles: bool = True


@dataclass(frozen=True, slots=True)
class Felt:
    """What a unit does with a class.

    `held`: jobs of the class now, `unsent` of them without a first byte; `bound`: whether the limit
    kept a job away since the last decision; `tpot_s`: time per output token of its streams, None
    when none was measured; `streams`: whether any of its jobs will tell that.
    """

    held: int
    bound: bool
    tpot_s: float | None
    unsent: int = 0
    streams: bool = True

    @property
    def grows(self) -> bool:
        """More are wanted, and what was let in last is felt by now."""
        return self.bound and self.unsent <= _UNFELT * self.held


def decide(limit: Limit, felt: Felt, aim_s: float, ceiling: int) -> Limit:
    """The limit from now on: at least 1, never above the ceiling."""
    at_most = replace(limit, jobs=min(limit.jobs, ceiling))
    if felt.tpot_s is None:
        # Answers in one piece say nothing; what is not known to be too much is not held back.
        return _grown(at_most, 2.0, ceiling) if felt.grows and not felt.streams else at_most
    if felt.tpot_s > aim_s:
        return _lowered(at_most, felt, aim_s)
    if felt.grows and felt.tpot_s < _KEEP * aim_s:
        doubles = limit.doubles and felt.tpot_s < _DOUBLE * aim_s
        return _grown(at_most, 2.0 if doubles else 1.0, ceiling)
    return at_most


def _grown(limit: Limit, factor: float, ceiling: int) -> Limit:
    jobs = max(limit.jobs + 1, round(limit.jobs * factor))
    return replace(limit, jobs=min(ceiling, jobs))


def _lowered(limit: Limit, felt: Felt, aim_s: float) -> Limit:
    if felt.held > limit.jobs or felt.tpot_s is None:
        # The jobs above an earlier decrease run to their end; until then nothing new is known.
        return limit
    share = max(_DEEPEST, aim_s / felt.tpot_s)
    return Limit(max(1, min(limit.jobs - 1, math.floor(felt.held * share))), doubles=False)
