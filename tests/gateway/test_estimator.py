"""Estimates of start: what is told, how it comes true, and what is learnt from that."""

from typing import Any, cast

import pytest

from common.keys import JobClass
from gateway.estimator import Estimator


class Seen:
    """A watcher of a pool with a steady drain, in jobs a second."""

    def __init__(self, drain: float, depth: int = 0) -> None:
        self._drain = drain
        self._depth = depth

    def depth(self, _job_class: JobClass) -> int:
        return self._depth

    def wait_s(self, _job_class: JobClass, jobs: int) -> float | None:
        return jobs / self._drain if self._drain else None


def estimator(drain: float, depth: int = 0) -> Estimator:
    return Estimator(cast("Any", Seen(drain, depth)))


def test_a_job_starts_when_those_before_it_and_itself_are_taken() -> None:
    estimate = estimator(drain=2.0).behind("long", 9)
    assert estimate
    assert estimate.told_s == 5.0


def test_nothing_is_said_where_none_waits_or_none_is_taken() -> None:
    assert estimator(drain=2.0, depth=0).of_new("short") is None
    assert estimator(drain=0.0, depth=3).of_new("short") is None
    assert estimator(drain=0.0).behind("short", 3) is None


@pytest.mark.parametrize(
    ("waited_s", "result"),
    [(5.0, "close"), (4.2, "close"), (6.2, "close"), (3.0, "early"), (9.0, "late")],
)
def test_close_is_within_a_fifth_of_the_real_wait(waited_s: float, result: str) -> None:
    said = estimator(drain=2.0)
    estimate = said.behind("long", 9)
    assert estimate
    assert said.started("long", estimate, waited_s) == result


def test_a_steady_error_is_learnt_per_class() -> None:
    said = estimator(drain=2.0, depth=9)
    results = []
    for _ in range(60):
        estimate = said.of_new("long")
        assert estimate
        results.append(said.started("long", estimate, 10.0))
    assert results[0] == "late"
    assert results[-1] == "close"
    assert said.retry_after_s("long", 10) == 10
    assert said.retry_after_s("short", 10) == 5


def test_one_odd_start_does_not_spoil_the_next_words() -> None:
    said = estimator(drain=2.0, depth=9)
    estimate = said.of_new("long")
    assert estimate
    said.started("long", estimate, 5000.0)
    after = said.of_new("long")
    assert after
    assert after.told_s < 1.3 * estimate.told_s
