"""The online limits of one unit: what its streams' tokens tell, and the limits that follow.

No clock and no I/O: the dispatcher's limiter and the lab feed it, each from what it sees.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from common.keys import CLASSES, JobClass
from common.models import Bounds
from common.policy import Policy
from common.ratio import DecayedRatio
from dispatcher.limit import Felt, Limit, decide

_FADE = 0.4
"""What each look takes from what was measured before: about the last three decide."""

_TOKENS = 20.0
"""A measure of fewer tokens is none."""

_USUAL_FADE = 0.1
"""The mean that ended streams are compared with is that of about the last ten looks."""

_SPREAD, _WIDEST = 1.3, 2.0
"""How much slower than the mean a stream in a hundred is: taken for seen, and believed at most."""

_QUANTILE, _STEP = 0.99, 0.05


@dataclass(frozen=True, slots=True)
class Stream:
    """A running stream that has begun: how many tokens it has brought so far."""

    job: str
    job_class: JobClass
    tokens: float


@dataclass(frozen=True, slots=True)
class Look:
    """What a unit holds at one moment; `unsent`: streams of which no byte has come."""

    now_s: float
    streams: tuple[Stream, ...]
    held: dict[JobClass, int]
    unsent: dict[JobClass, int]


class OnlineLimits:
    """The limits of both classes; `spread` of each is how its slowest streams compare to the mean.

    A limit begins at what the published rules give, as far as the ceiling allows.
    """

    def __init__(self, policy: Policy) -> None:
        self._classes = {name: _ClassLimit(name, policy) for name in CLASSES}
        self._before: Look | None = None

    def limit(self, job_class: JobClass, policy: Policy) -> int | None:
        """None: the ceiling alone counts."""
        if policy.tpot_objective_s(job_class) is None:
            return None
        return min(self._classes[job_class].limit.jobs, policy.limit(job_class))

    def within(self, bounds: Bounds, policy: Policy) -> Bounds:
        """These bounds of a claim, and the limits of now."""
        if policy.slots == "fixed":
            return bounds
        short, long = (self.limit(name, policy) for name in CLASSES)
        return replace(bounds, limit_short=short, limit_long=long)

    def tpot_s(self, job_class: JobClass) -> float | None:
        """Time per output token of a class's streams, of late."""
        return self._classes[job_class].tpot_s

    def claimed(self, held: dict[JobClass, int], policy: Policy) -> None:
        """A claim came back: note which limits are reached."""
        most = {name: self.limit(name, policy) or policy.limit(name) for name in CLASSES}
        taken = sum(held[name] / most[name] for name in CLASSES)
        for name, one in self._classes.items():
            one.bound |= taken + 1 / most[name] > 1

    def ended(self, job_class: JobClass, tpot_s: float) -> None:
        """A stream has ended, after so long for each token but the first."""
        self._classes[job_class].ended(tpot_s)

    def look(self, seen: Look, policy: Policy) -> None:
        """Measure since the last look, and decide."""
        before, self._before = self._before, seen
        if before is None:
            return
        for name, one in self._classes.items():
            objective_s = policy.tpot_objective_s(name)
            if objective_s is None:
                continue
            # Beside a long prefill chats are slow however few they are.
            if name == "long" or not (seen.unsent["long"] or before.unsent["long"]):
                one.measure(_passed(before, seen, name), seen.now_s - before.now_s)
            streams = seen.unsent[name] or any(s.job_class == name for s in seen.streams)
            felt = Felt(
                seen.held[name], one.bound, one.tpot_s, seen.unsent[name], streams=bool(streams)
            )
            one.decide(felt, objective_s, policy.limit(name))
        # A unit that stays full makes no claim that would say so.
        self.claimed(seen.held, policy)


class _ClassLimit:
    def __init__(self, job_class: JobClass, policy: Policy) -> None:
        self.limit = Limit(min(policy.worker_concurrency_limit, policy.limit(job_class)))
        self.bound = False
        self.spread = _SPREAD
        self._usual = DecayedRatio(_USUAL_FADE)
        self._forget()

    @property
    def tpot_s(self) -> float | None:
        return self._tokens_s.value if self._tokens >= _TOKENS else None

    def measure(self, tokens: list[float], passed_s: float) -> None:
        if tokens:
            self._tokens_s.add(len(tokens) * passed_s, sum(tokens))
            self._usual.add(len(tokens) * passed_s, sum(tokens))
            self._tokens += sum(tokens)

    def ended(self, tpot_s: float) -> None:
        """Follow the slowest hundredth by stochastic approximation (Robbins and Monro, 1951)."""
        usual_s = self._usual.value
        if usual_s:
            above = tpot_s > self.spread * usual_s
            self.spread *= 1 + _STEP * (_QUANTILE if above else _QUANTILE - 1)
            self.spread = min(_WIDEST, max(1.0, self.spread))

    def decide(self, felt: Felt, objective_s: float, ceiling: int) -> None:
        before = self.limit
        self.limit = decide(before, felt, objective_s / self.spread, ceiling)
        self.bound = False
        if self.limit.jobs < before.jobs:
            # What was measured with more jobs says nothing about fewer.
            self._forget()

    def _forget(self) -> None:
        self._tokens_s = DecayedRatio(_FADE)
        self._tokens = 0.0


def _passed(before: Look, seen: Look, job_class: JobClass) -> list[float]:
    """Tokens of each stream of a class that ran at both looks."""
    had = _tokens(before.streams, job_class)
    return [
        tokens - had[job] for job, tokens in _tokens(seen.streams, job_class).items() if job in had
    ]


def _tokens(streams: Iterable[Stream], job_class: JobClass) -> dict[str, float]:
    return {stream.job: stream.tokens for stream in streams if stream.job_class == job_class}
