"""How the client sees that estimates of start came true."""

import pytest

from bench.estimates import start_estimates
from bench.rows import Order, Row


def row(told_ms: int | None, queue_ms: int, after_ms: int = 0) -> Row:
    found = Row(Order(0, "s", "short", "http://unit", 0.0, 10, 10))
    found.headers = {"queue-ms": str(queue_ms)}
    if told_ms is not None:
        found.headers |= {"estimate-ms": str(told_ms), "estimated-after-ms": str(after_ms)}
    return found


def test_only_what_was_estimated_counts_and_near_is_told_apart() -> None:
    rows = [
        row(1000, 1100),  # close
        row(1000, 2100, after_ms=1000),  # close: what counts is the rest of the wait
        row(300, 100),  # near
        row(5000, 2000),  # early
        row(2000, 5000),  # late
        row(None, 5000),
    ]
    found = start_estimates(rows)
    assert found
    counts = {name: found[name] for name in ("n", "close", "near", "early", "late")}
    assert counts == {"n": 5, "close": 2, "near": 1, "early": 1, "late": 1}
    assert found["share"] == pytest.approx(0.4)
    assert found["share_with_near"] == pytest.approx(0.6)


def test_without_any_nothing_is_said() -> None:
    assert start_estimates([row(None, 5000)]) is None
    assert start_estimates([]) is None
