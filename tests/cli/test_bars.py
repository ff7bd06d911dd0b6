"""Bars and durations as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.bars import FREE_CELL, LONG_CELL, SHORT_CELL, bar, duration


@pytest.mark.parametrize(
    ("short", "long", "limits", "expected"),
    [
        (0, 0, (8, 8), "········"),
        (2, 1, (8, 8), "▒▒█·····"),
        (8, 0, (8, 8), "▒▒▒▒▒▒▒▒"),
        (0, 8, (8, 8), "████████"),
        (4, 4, (8, 8), "▒▒▒▒████"),
        (32, 4, (64, 8), "▒▒▒▒████"),
        (1, 0, (64, 8), "▒·······"),
        (63, 0, (64, 8), "▒▒▒▒▒▒▒·"),
    ],
)
def test_a_bar_shows_each_class_by_its_weight(
    short: int, long: int, limits: tuple[int, int], expected: str
) -> None:
    assert bar(short, long, *limits, width=8).plain == expected


@given(
    st.integers(0, 200),
    st.integers(0, 200),
    st.integers(1, 128),
    st.integers(1, 128),
    st.integers(3, 60),
)
def test_a_bar_is_as_wide_as_asked_and_shows_whoever_is_there(
    short: int, long: int, limit_short: int, limit_long: int, width: int
) -> None:
    cells = bar(short, long, limit_short, limit_long, width).plain
    assert len(cells) == width
    assert (LONG_CELL in cells) == (long > 0)
    assert (SHORT_CELL in cells) == (short > 0)
    if short / limit_short + long / limit_long < 1:
        assert FREE_CELL in cells


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "-"),
        (0.002, "2 ms"),
        (0.25, "0.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7620, "2 h 07 min"),
    ],
)
def test_a_duration_is_short_to_read(seconds: float | None, expected: str) -> None:
    assert duration(seconds) == expected
