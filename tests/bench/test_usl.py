"""The fitted curve and the knee: found where they are known, and not made up."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.closedloop import Point
from bench.kneepoint import Knee
from bench.kneepoint import find_knee as find_knee_in
from bench.sweep import read_points
from bench.usl import fit
from simulator.costs import DEFAULT_CALIBRATION

MEASURED = DEFAULT_CALIBRATION.with_name("h200-llama3-70b-fp8.measured.json")
CONCURRENCIES = np.array([1.0, 2, 4, 8, 16, 32])


def usl(rate: float, contention: float, coherency: float, at: np.ndarray) -> np.ndarray:
    """Gunther's law, written down a second time."""
    return rate * at / (1 + contention * (at - 1) + coherency * at * (at - 1))


def find_knee(size_class: str, of: list[Point]) -> Knee:
    """With fewer resamples than for a person: they take most of the time."""
    return find_knee_in(size_class, of, resamples=60)


def points(throughputs: np.ndarray, concurrencies: np.ndarray = CONCURRENCIES) -> list[Point]:
    return [
        Point("long", int(at), 1, requests_per_s=float(value))
        for at, value in zip(concurrencies, throughputs, strict=True)
    ]


@pytest.mark.parametrize(
    ("rate", "contention", "coherency"),
    [(2.0, 0.1, 0.002), (0.17, 0.45, 0.0015), (5.0, 0.0, 0.001), (1.0, 0.2, 0.0)],
)
def test_a_curve_is_fitted_back_to_what_made_it(
    rate: float, contention: float, coherency: float
) -> None:
    found = fit(CONCURRENCIES, usl(rate, contention, coherency, CONCURRENCIES))
    assert found.rate == pytest.approx(rate, rel=1e-3)
    assert found.contention == pytest.approx(contention, abs=2e-3)
    assert found.coherency == pytest.approx(coherency, abs=2e-5)
    assert found.rms_error < 1e-3


def test_the_peak_is_where_the_law_puts_it() -> None:
    found = fit(CONCURRENCIES, usl(1.0, 0.1, 0.01, CONCURRENCIES))
    assert found.peak == pytest.approx(np.sqrt(0.9 / 0.01), rel=0.01)


def test_the_knee_is_the_fewest_whose_throughput_is_within_a_share_of_the_best() -> None:
    curve = usl(1.0, 0.1, 0.01, CONCURRENCIES)
    knee = find_knee("long", points(curve))
    every = np.linspace(1, 32, 100_000)
    known = usl(1.0, 0.1, 0.01, every)
    assert knee.at == pytest.approx(every[np.argmax(known >= 0.95 * known.max())], rel=0.01)
    assert knee.limit == 7
    assert knee.growing_share == 0.0


def test_more_noise_makes_the_bounds_wider_and_they_hold_the_truth() -> None:
    at = np.repeat(CONCURRENCIES, 3)
    truth = find_knee("long", points(usl(1.0, 0.1, 0.01, CONCURRENCIES))).at
    assert truth is not None
    widths = []
    for noise in (0.005, 0.05):
        spread = np.exp(np.random.default_rng(3).normal(0, noise, len(at)))
        knee = find_knee("long", points(usl(1.0, 0.1, 0.01, at) * spread, at))
        assert knee.low is not None
        assert knee.high is not None
        assert knee.low <= truth <= knee.high
        widths.append(knee.high - knee.low)
    assert widths[1] > 2 * widths[0] > 0


def test_where_throughput_still_grows_there_is_no_knee() -> None:
    knee = find_knee("short", points(usl(1.0, 0.02, 0.0, CONCURRENCIES)))
    assert knee.at is None
    assert knee.gain > 0.3
    assert knee.growing_share == 1.0
    assert knee.limit == 32


def test_the_same_points_give_the_same_knee() -> None:
    curve = points(usl(1.0, 0.1, 0.01, CONCURRENCIES) * np.array([1, 1.01, 0.99, 1.02, 0.98, 1]))
    first, second = find_knee("long", curve), find_knee("long", curve)
    assert (first.at, first.low, first.high) == (second.at, second.low, second.high)


def test_three_points_are_too_few() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        find_knee("long", points(np.array([1.0, 2, 3]), np.array([1.0, 2, 4])))


def test_the_real_unit_has_a_knee_for_documents_and_none_for_chats_yet() -> None:
    measured = read_points(json.loads(Path(MEASURED).read_text()))
    chats = [point for point in measured if point.size_class == "short"]
    documents = [point for point in measured if point.size_class == "long"]
    assert find_knee("short", [one for one in chats if one.concurrency <= 64]).at is None
    assert find_knee("short", chats).at is None
    knee = find_knee("long", documents)
    assert knee.limit == 7
    assert knee.low is not None
    assert knee.high is not None
    assert knee.low < knee.limit < knee.high + 1
    # Without the last point nothing shows that it is one.
    assert find_knee("long", [one for one in documents if one.concurrency <= 8]).at is None
