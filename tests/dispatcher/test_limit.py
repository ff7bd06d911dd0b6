"""How many jobs a unit may hold, by table; and that it settles, on a unit that slows with them."""

import pytest

from common.policy import Policy
from dispatcher.limit import Felt, Limit, decide
from dispatcher.online import Look, OnlineLimits, Stream

AIM_S = 0.1


def full(held: int, tpot_s: float | None, unsent: int = 0, *, streams: bool = True) -> Felt:
    """A unit that holds what it may, while more waits."""
    return Felt(held, bound=True, tpot_s=tpot_s, unsent=unsent, streams=streams)


def roomy(held: int, tpot_s: float) -> Felt:
    """A unit that might hold more."""
    return Felt(held, bound=False, tpot_s=tpot_s)


@pytest.mark.parametrize(
    ("why", "before", "felt", "after"),
    [
        ("fast streams double it", Limit(8), full(8, 0.03), Limit(16)),
        ("fairly fast ones add one", Limit(8), full(8, 0.07), Limit(9)),
        ("near the aim nothing moves", Limit(8), full(8, 0.095), Limit(8)),
        ("nobody was kept away", Limit(8), roomy(3, 0.03), Limit(8)),
        ("what was let in is not felt yet", Limit(8), full(8, 0.03, unsent=4), Limit(8)),
        ("never above the ceiling", Limit(40), full(40, 0.03), Limit(64)),
        ("a ceiling that was lowered", Limit(100), full(64, 0.095), Limit(64)),
        ("slow streams lower it by how slow they are", Limit(20), full(20, 0.125),
         Limit(16, doubles=False)),
        ("by no more than a third at a time", Limit(20), full(20, 5.0),
         Limit(14, doubles=False)),
        ("by one at least", Limit(3), full(3, 0.101), Limit(2, doubles=False)),
        ("never below one", Limit(1), full(1, 5.0), Limit(1, doubles=False)),
        ("no further while the unit comes down to it", Limit(14, doubles=False),
         full(20, 5.0), Limit(14, doubles=False)),
        ("from what is held, not from what might be", Limit(64), roomy(10, 0.125),
         Limit(8, doubles=False)),
        ("once it was too high it adds one", Limit(8, doubles=False), full(8, 0.03),
         Limit(9, doubles=False)),
        ("streams that were not measured yet", Limit(8), full(8, None), Limit(8)),
        ("answers in one piece, which are never measured", Limit(8),
         full(8, None, streams=False), Limit(16)),
    ],
)  # fmt: skip
def test_a_limit(why: str, before: Limit, felt: Felt, after: Limit) -> None:
    assert decide(before, felt, AIM_S, 64) == after, why


class Engine:
    """A unit whose step takes so long, and so much more for each job; jobs are always waiting."""

    def __init__(self, step_s: float, each_s: float, ceiling: int = 64, **policy: str) -> None:
        settings = {"slots": "online", "worker_concurrency_limit_short": ceiling}
        self.policy = Policy.model_validate(settings | policy)
        self.limits = OnlineLimits(self.policy)
        self.now_s = 0.0
        self._step_s, self._each_s = step_s, each_s
        self._jobs: list[list[float]] = []
        self._named = 0

    @property
    def limit(self) -> int:
        return self.limits.limit("short", self.policy) or 0

    @property
    def tpot_s(self) -> float:
        return self._step_s + self._each_s * len(self._jobs)

    def run(self, seconds: int, wanted: int = 1000) -> list[int]:
        """Keep so many jobs, as far as the limit lets; answers the limit of each second."""
        return [self._second(wanted) for _ in range(seconds)]

    def _second(self, wanted: int) -> int:
        while len(self._jobs) < min(self.limit, wanted):
            self._named += 1
            self._jobs.append([self._named, 0.0])
        bound = wanted > len(self._jobs)
        if bound:
            self.limits.claimed({"short": len(self._jobs), "long": 0}, self.policy)
        for job in self._jobs:
            job[1] += 1 / self.tpot_s
        for job in [job for job in self._jobs if job[1] >= 100]:
            self.limits.ended("short", self.tpot_s)
            self._jobs.remove(job)
        self.now_s += 1
        held = {"short": len(self._jobs), "long": 0}
        streams = tuple(Stream(str(name), "short", tokens) for name, tokens in self._jobs)
        self.limits.look(Look(self.now_s, streams, {**held}, {"short": 0, "long": 0}), self.policy)
        return self.limit


def test_it_settles_where_streams_keep_the_objective() -> None:
    engine = Engine(step_s=0.02, each_s=0.002)
    engine.run(120)
    settled = engine.run(120)
    # 40 jobs make 100 ms. What it settles on leaves room for the slowest streams.
    assert 20 <= min(settled) <= max(settled) <= 40
    assert max(settled) - min(settled) <= 15


def test_a_unit_that_bears_its_ceiling_gets_it_within_seconds() -> None:
    engine = Engine(step_s=0.02, each_s=0.0002)
    assert engine.run(10)[-1] == 64


def test_without_a_crowd_the_limit_is_not_touched_by_what_is_fast() -> None:
    engine = Engine(step_s=0.02, each_s=0.002)
    assert set(engine.run(60, wanted=4)) == {8}


def test_a_unit_that_is_slow_whatever_it_holds_keeps_one_job() -> None:
    engine = Engine(step_s=0.5, each_s=0.01)
    assert engine.run(200)[-1] == 1


def test_fixed_slots_have_no_online_limit() -> None:
    assert OnlineLimits(Policy()).limit("short", Policy()) is None


def test_a_class_without_an_objective_has_none() -> None:
    policy = Policy(slots="online")
    assert OnlineLimits(policy).limit("long", policy) is None
    assert OnlineLimits(policy).limit("short", policy) == 8


def test_a_long_prefill_beside_them_is_not_held_against_chats() -> None:
    policy = Policy(slots="online", worker_concurrency_limit_short=64)
    limits = OnlineLimits(policy)
    for second in range(20):
        # A token a second each, as beside a long prefill.
        streams = tuple(Stream(f"job-{n}", "short", float(second)) for n in range(8))
        look = Look(float(second), streams, {"short": 8, "long": 1}, {"short": 0, "long": 1})
        limits.look(look, policy)
    assert limits.limit("short", policy) == 8
