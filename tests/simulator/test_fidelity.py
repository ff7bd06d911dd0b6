"""The simulator against a real unit: the protocols of the measurements on virtual time."""

import statistics

import pytest

from bench.fit_simulator import Point, compare, read_measurements
from simulator.costs import read_calibration
from simulator.replay import VirtualUnit

MEASURED = read_measurements()
POINTS = compare(read_calibration(), MEASURED)
LARGEST = {"prefill": 0.10, "decode": 0.10, "stall": 0.25, "knee": 0.25}


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point.kind}: {point.case}")
def test_a_measurement_is_met(point: Point) -> None:
    assert abs(point.error) <= LARGEST[point.kind]


def test_the_closed_loop_is_met_with_a_small_median_error() -> None:
    errors = [abs(point.error) for point in POINTS if point.kind == "knee"]
    assert statistics.median(errors) <= 0.08


def test_no_measurement_is_left_out() -> None:
    kinds = {"prefill": "prefill", "decode": "decode", "interference": "stall", "knee": "knee"}
    for group, kind in kinds.items():
        assert len(MEASURED[group]) == sum(point.kind == kind for point in POINTS)


def test_sixteen_prompts_of_16384_tokens_never_decode_together() -> None:
    """Why that step is cheaper than one of eight: the cache holds eleven, the others come later."""
    unit = VirtualUnit(read_calibration())
    together = 0
    for _ in range(16):
        unit.add(16_384, 64)
    while not unit.engine.idle:
        unit.step()
        together = max(together, len(unit.engine.running))
    assert together == 11
