"""The meter of what short jobs bring."""

import pytest

from scaler.demand import DemandMeter


def fed(rate: float, seconds: int, memory_s: float = 10, job_s: float | None = 0.1) -> float:
    meter = DemandMeter()
    for at in range(seconds):
        demand = meter.look(at, round(at * rate), job_s, memory_s)
    return demand.load


def test_a_steady_stream_is_measured_as_what_it_is() -> None:
    assert fed(6, 100) == pytest.approx(0.6, rel=0.1)


def test_a_meter_that_has_just_started_knows_it_already() -> None:
    assert fed(6, 3) == pytest.approx(0.6, rel=0.2)


def test_what_stopped_is_forgotten() -> None:
    meter = DemandMeter()
    for at in range(30):
        meter.look(at, at * 10, 0.1, 5)
    assert meter.look(60, 290, 0.1, 5).load < 0.02


def test_a_redis_that_counts_from_0_again_is_no_arrival() -> None:
    meter = DemandMeter()
    for at in range(30):
        before = meter.look(at, at * 10, 0.1, 5)
    after = meter.look(30, 0, 0.1, 5)
    assert after.jobs_per_s < before.jobs_per_s


def test_a_moment_without_any_job_in_flight_forgets_no_length() -> None:
    meter = DemandMeter()
    meter.look(0, 0, 0.2, 10)
    meter.look(1, 5, 0.2, 10)
    assert meter.look(2, 10, None, 10).job_s == pytest.approx(0.2)


def test_what_came_while_nobody_looked_did_not_come_just_now() -> None:
    meter = DemandMeter()
    for at in range(30):
        meter.look(at, at * 6, 0.1, 10)
    assert meter.look(3630, 3630 * 6, 0.1, 10).load == pytest.approx(0.6, rel=0.1)
