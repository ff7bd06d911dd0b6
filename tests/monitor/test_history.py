"""Rates and percentiles between readings, over restarts and gaps."""

import math

import pytest

from monitor.histogram import Count, Histogram
from monitor.history import Activity, History
from monitor.vllm_page import Reading

INF = math.inf


def tokens(value: float, made_s: float | None = None) -> Reading:
    return Reading(counts={"generation_tokens": Count(value, made_s)})


def rate(*readings: tuple[float, Reading], window_s: float = 10.0) -> float | None:
    history = History(window_s)
    for at_s, reading in readings:
        history.add(at_s, reading)
    return history.activity().generation_tokens_per_s


def test_one_reading_tells_nothing_of_what_happens() -> None:
    history = History(10.0)
    assert history.activity() == Activity()
    history.add(0.0, tokens(100.0))
    assert history.activity() == Activity()


def test_a_rate_is_the_growth_over_the_time() -> None:
    assert rate((0.0, tokens(100.0)), (4.0, tokens(500.0))) == 100.0


def test_a_unit_that_does_nothing_has_a_rate_of_zero_and_no_percentiles() -> None:
    history = History(10.0)
    idle = Reading(
        counts={"generation_tokens": Count(5.0)}, histograms={"ttft": Histogram({1.0: 2, INF: 2})}
    )
    history.add(0.0, idle)
    history.add(1.0, idle)
    assert history.activity().generation_tokens_per_s == 0.0
    assert history.activity().ttft_p50_s is None


def test_a_rate_forgets_what_lies_before_the_window() -> None:
    busy_then_idle = [(0.0, tokens(0.0)), (5.0, tokens(1000.0))]
    idle = [(5.0 + step, tokens(1000.0)) for step in range(2, 12, 2)]
    assert rate(*busy_then_idle, *idle, window_s=10.0) == 0.0


def test_a_counter_that_fell_was_restarted_and_counts_from_zero() -> None:
    assert rate((0.0, tokens(900.0)), (1.0, tokens(1000.0)), (2.0, tokens(50.0))) == 75.0


def test_a_restart_is_known_by_the_birth_of_the_counter_when_its_value_hides_it() -> None:
    assert rate((0.0, tokens(100.0, made_s=1.0)), (2.0, tokens(300.0, made_s=2.0))) == 150.0


def test_a_metric_that_vanishes_is_unknown_and_not_zero() -> None:
    assert rate((0.0, tokens(100.0)), (1.0, Reading())) is None
    assert rate((0.0, Reading()), (1.0, tokens(100.0))) is None


def test_what_a_unit_did_while_it_was_silent_for_long_is_not_taken_for_now() -> None:
    assert rate((0.0, tokens(0.0)), (300.0, tokens(30_000.0)), window_s=10.0) is None


def test_percentiles_are_of_what_was_observed_within_the_window() -> None:
    history = History(10.0)
    history.add(0.0, Reading(histograms={"ttft": Histogram({0.1: 100, 1.0: 100, INF: 100})}))
    history.add(2.0, Reading(histograms={"ttft": Histogram({0.1: 100, 1.0: 110, INF: 110})}))
    # All ten lie between 0.1 and 1.0.
    assert history.activity().ttft_p50_s == pytest.approx(0.55)
    assert history.activity().ttft_p99_s == pytest.approx(0.991)


def test_percentiles_go_on_over_a_restart() -> None:
    history = History(10.0)
    for at_s, counts in enumerate([(50, 50), (54, 54), (1, 3)]):
        below, all_of_them = counts
        reading = Reading(
            histograms={"e2e": Histogram({1.0: below, 2.0: all_of_them, INF: all_of_them})}
        )
        history.add(float(at_s), reading)
    # Four below 1.0 before the restart; then one below and two above.
    assert history.activity().e2e_p50_s == pytest.approx(3.5 / 5)


def test_a_share_needs_something_to_share() -> None:
    history = History(10.0)
    for at_s, (asked, hit) in enumerate([(0.0, 0.0), (0.0, 0.0), (80.0, 20.0)]):
        counts = {"prefix_queries": Count(asked), "prefix_hits": Count(hit)}
        history.add(float(at_s), Reading(counts=counts))
        known = history.activity().prefix_hit_rate
        assert known == (0.25 if asked else None)


@pytest.mark.parametrize(
    ("rank", "wanted"),
    [(0.25, 0.5), (0.5, 1.0), (0.75, 1.5), (0.9, 2.0), (0.99, 2.0)],
)
def test_a_quantile_is_that_of_prometheus(rank: float, wanted: float) -> None:
    # histogram_quantile of these buckets: linear inside, the last finite bound beyond it.
    observed = Histogram({1.0: 10.0, 1.5: 15.0, 2.0: 16.0, INF: 20.0})
    assert observed.quantile(rank) == pytest.approx(wanted)


def test_nothing_observed_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram({1.0: 0.0, INF: 0.0}).quantile(0.5) is None
