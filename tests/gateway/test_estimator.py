"""Estimates of start: what is told, how it comes true, and what is learnt from that."""

from typing import Any, cast

import pytest

from common.keys import JobClass
from common.models import NewJob, QueueView, Standing
from common.policy import Policy
from gateway.drain import Drain
from gateway.estimator import Estimate, Estimator

COST = 100_000.0


def moving(starts: float, arrivals: float = 0.0, virtual: float | None = None) -> Drain:
    """A queue that never empties, seen every second for a while."""
    drain = Drain()
    depth, taken, turned = 1e6, 0.0, None if virtual is None else 0.0
    for _ in range(200):
        before = QueueView(cast("int", depth), 1.0, cast("int", taken), turned)
        depth, taken = depth + arrivals - starts, taken + starts
        turned = None if turned is None else turned + (virtual or 0.0)
        after = QueueView(cast("int", depth), 1.0, cast("int", taken), turned)
        drain.look(before, after, 1.0)
    return drain


class Seen:
    """A watcher of a pool whose queues move like this."""

    def __init__(self, drain: Drain, policy: Policy | None = None) -> None:
        self._drain = drain
        self.policy = policy or Policy()

    def drain(self, _job_class: JobClass) -> Drain:
        return self._drain


def estimator(drain: Drain, policy: Policy | None = None) -> Estimator:
    return Estimator(cast("Any", Seen(drain, policy)))


def standing(position: int, age_s: float = 0.0, **more: Any) -> Standing:
    return Standing(
        now_ms=1_000_000, submitted_ms=round(1_000_000 - age_s * 1000), position=position, **more
    )


def told_s(said: Estimator, where: Standing, job_class: JobClass = "long") -> float:
    estimate = said.of(job_class, where)
    assert estimate
    return estimate.told_s


def test_a_job_starts_when_those_before_it_and_itself_are_taken() -> None:
    assert told_s(estimator(moving(starts=2.0)), standing(9)) == pytest.approx(5.0)


def test_nothing_is_said_where_none_is_taken() -> None:
    assert estimator(Drain()).of("short", standing(3)) is None
    assert estimator(moving(starts=0.0)).of("short", standing(3)) is None


def test_virtual_time_tells_the_share_of_an_owner() -> None:
    """Of 12 starts a second one owner of weight 1 has 3, the other of weight 3 has 9."""
    said = estimator(moving(starts=12.0, virtual=3 * COST))
    light = standing(40, lane=29, distance=30 * COST, step=COST)
    heavy = standing(40, lane=29, distance=10 * COST, step=COST / 3)
    assert told_s(said, light) == pytest.approx(10.0)
    assert told_s(said, heavy) == pytest.approx(30 / 9)


def test_those_that_will_come_and_go_before_it_are_counted() -> None:
    policy = Policy(policy="adaptive", starvation_bound_s=0)
    said = estimator(moving(starts=2.0, arrivals=1.0, virtual=2 * COST), policy)
    for _ in range(20):
        said.came(NewJob("job", "long", 4096, "gateway", "/v1/completions", stream=True, body=b""))
    late_s = policy.later_s("long", 4096)
    first = standing(9, lane=9, distance=10 * COST, step=COST)
    overtaken = standing(9, lane=9, distance=10 * COST, step=COST, until_s=late_s + 4.0)
    always = standing(9, lane=9, distance=10 * COST, step=COST, until_s=late_s + 1000.0)
    assert told_s(said, first) == pytest.approx(5.0)
    # For 4 s one a second goes before it; while it waits at all, one for each two.
    assert told_s(said, overtaken) == pytest.approx(7.0, abs=0.01)
    assert told_s(said, always) == pytest.approx(10.0, abs=0.01)


def test_age_bounds_the_wait_under_the_adaptive_policy() -> None:
    policy = Policy(policy="adaptive")
    said = estimator(moving(starts=2.0, virtual=2 * COST), policy)
    last = standing(999, age_s=50.0, lane=999, distance=1000 * COST, step=COST, older=4)
    # In 10 s it has starved, and then every eighth start is that of the oldest.
    assert told_s(said, last) == pytest.approx(10 + 5 * 8 / 2)
    published = estimator(moving(starts=2.0, virtual=2 * COST))
    assert told_s(published, last) == pytest.approx(500)


@pytest.mark.parametrize(
    ("told", "waited_s", "result"),
    [
        (5.0, 5.0, "close"), (5.0, 4.2, "close"), (5.0, 6.2, "close"), (5.0, 3.0, "early"),
        (5.0, 9.0, "late"), (0.3, 0.1, "near"), (0.1, 0.3, "near"), (0.5, 0.1, "early"),
        (1.5, 1.251, "close"), (0.3, 0.0, "early"),
    ],
)  # fmt: skip
def test_close_is_within_a_fifth_of_the_real_wait(
    told: float, waited_s: float, result: str
) -> None:
    assert Estimate(told, told).result(waited_s) == result


def test_a_steady_error_is_learnt_per_class() -> None:
    said = estimator(moving(starts=2.0))
    results = []
    for _ in range(60):
        estimate = said.of("long", standing(9))
        assert estimate
        results.append(said.started("long", estimate, 10.0))
    assert results[0] == "late"
    assert results[-1] == "close"
    assert said.retry_after_s("long", 10) == 10
    assert said.retry_after_s("short", 10) == 5


def test_what_is_learnt_of_short_waits_says_nothing_about_long_ones() -> None:
    said = estimator(moving(starts=2.0))
    for _ in range(40):
        estimate = said.of("long", standing(0))
        assert estimate
        said.started("long", estimate, 4.0)
    assert told_s(said, standing(0)) > 2.0
    assert told_s(said, standing(99)) == pytest.approx(50.0)


def test_one_odd_start_does_not_spoil_the_next_words() -> None:
    said = estimator(moving(starts=2.0))
    estimate = said.of("long", standing(9))
    assert estimate
    said.started("long", estimate, 5000.0)
    assert told_s(said, standing(9)) < 1.6 * estimate.told_s
