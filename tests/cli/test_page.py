"""The page and the plain line of a pool."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, Group

from cli.happenings import Happenings
from cli.page import lately, page, plain
from cli.state import view_of
from common.models import PoolView, QueueView, UnitView
from common.policy import Policy
from common.state import limit_of, state_of

UNITS = (
    UnitView("unit-1", "short", alive=True, draining=False, short=6, long=0, health="up"),
    UnitView("unit-2", "long", alive=True, draining=False, short=2, long=3),
    UnitView("unit-3", "short", alive=True, draining=False, short=0, long=0, idle_s=12.3),
    UnitView("unit-4", "long", alive=False, draining=False, short=0, long=0, heartbeat_s=75.0),
    UnitView("unit-5", "short", alive=True, draining=True, short=1, long=0),
    UnitView("unit-6", "short", alive=True, draining=False, short=0, long=0, health="down"),
)
VIEW = PoolView(
    now_ms=0,
    units=UNITS,
    queues={"short": QueueView(0, None, 0), "long": QueueView(17, 7.8, 0)},
    overrides={},
)
EVENTS: list[dict[str, Any]] = [
    {"event": "submitted", "job": "job-1", "class": "long", "at_ms": "1000"},
    {"event": "flipped", "unit": "unit-2", "to": "long", "reason": "11 long jobs wait"},
    {
        "event": "stolen",
        "job": "job-" + "1" * 32,
        "class": "long",
        "unit": "unit-3",
        "why": "stolen",
    },
    {"event": "finished", "job": "job-1", "outcome": "ok"},
    {"event": "finished", "job": "job-2", "outcome": "failed"},
]


def shown(width: int) -> list[str]:
    happenings = Happenings()
    for event in EVENTS:
        happenings.add(event)
    console = Console(width=width, record=True, quiet=False, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(
            Group(
                page(VIEW, Policy(), "AdaSplit  pool default  http://127.0.0.1:8000", width),
                lately(happenings.counts, happenings.notes),
            )
        )
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_page_has_a_line_for_every_unit_and_fits(width: int) -> None:
    lines = shown(width)
    assert max(len(line) for line in lines) <= width
    for unit in UNITS:
        assert sum(line.startswith(unit.name) for line in lines) == 1


@pytest.mark.parametrize(
    ("unit", "says"),
    [
        ("unit-1", "busy"),
        ("unit-3", "idle 12 s"),
        ("unit-4", "dead 1 min 15 s"),
        ("unit-5", "draining"),
        ("unit-6", "down"),
    ],
)
def test_the_page_says_how_each_unit_is(unit: str, says: str) -> None:
    line = next(line for line in shown(80) if line.startswith(unit))
    assert line.endswith(says)


def test_the_page_shows_slots_queues_and_what_happened() -> None:
    text = "\n".join(shown(80))
    for words in ("6/8", "3/8", "17", "7.8 s", "1 ok, 1 failed, 1 flip, 1 steal"):
        assert words in text
    assert "unit-2 is Long now: 11 long jobs wait" in text
    assert "unit-3 took long job-1" in text


def test_the_plain_line_says_the_same_in_short() -> None:
    line = plain(VIEW, Counter(ok=3, flipped=1))
    assert line == (
        "short: 3 units, 9 running, 0 waiting | "
        "long: 1 unit, 3 running, 17 waiting up to 7.8 s | 1 unit dead | "
        "3 ok, 1 flip, 0 steals"
    )


def test_a_state_survives_being_written_and_read() -> None:
    again = view_of(state_of("default", VIEW, Policy()))
    assert [(one.name, one.role, one.alive, one.in_flight) for one in again.units] == [
        (one.name, one.role, one.alive, one.in_flight) for one in UNITS
    ]
    assert again.queues["long"] == VIEW.queues["long"]


def test_a_limit_of_the_class_comes_first_and_of_each_the_live_override() -> None:
    unit = replace(UNITS[0], limit=6, limit_short=64)
    general = {"worker_concurrency_limit": "4"}
    of_class = general | {
        "worker_concurrency_limit_short": "5",
        "worker_concurrency_limit_long": "3",
    }

    def limits(overrides: dict[str, str]) -> tuple[int, int]:
        view, policy = replace(VIEW, overrides=overrides), Policy().under(overrides)
        short = limit_of(unit, view, policy, "short")
        return short, limit_of(unit, view, policy, "long")

    assert limits({}) == (64, 6)
    assert limits(general) == (64, 4)
    assert limits(of_class) == (5, 3)


def test_a_limit_that_was_found_online_stands_before_its_ceiling() -> None:
    unit = replace(UNITS[0], short=12, limit_short=64, online_short=21)
    view = replace(VIEW, units=(unit,))
    again = view_of(state_of("default", view, Policy()))
    for one in (view, again):
        console = Console(width=80, force_terminal=False)
        with console.capture() as capture:
            console.print(page(one, Policy(), "title"))
        assert "12/21 of 64" in capture.get()
