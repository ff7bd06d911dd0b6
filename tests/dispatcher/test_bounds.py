"""What a unit's next claim may bring, by table; and the pace that the estimates follow."""

import pytest

from common.models import Bounds
from common.policy import Policy
from common.prefill import Prefill, left_s
from dispatcher.bounds import UnitState, bounds
from dispatcher.pace import Pace

POLICY = Policy(policy="adaptive")


def short(*tokens: int) -> tuple[Prefill, ...]:
    return tuple(Prefill(one, 0.0) for one in tokens)


def test_under_the_published_rules_only_slots_bound_a_claim() -> None:
    state = UnitState(short=short(9000), long=short(90_000), short_held=9)
    assert bounds(state, Policy()) == Bounds()


TABLE = [
    ("an idle unit takes a long job, and a backlog of short ones", UnitState(), (3419, 1)),
    ("what it has before it counts", UnitState(short=short(1000, 1000), short_held=2), (1043, 0)),
    ("a full backlog takes none", UnitState(short=short(*[1000] * 4), short_held=4), (0, 0)),
    (
        "nobody joins a long prefill",
        UnitState(long=short(20_000), role="long", role_age_s=60),
        (0, 0),
    ),
    (
        "a long prefill that is almost over is joined",
        UnitState(long=(Prefill(15_000, 2.1),), role="long", role_age_s=60),
        (3419, 0),
    ),
    (
        "a prefill that takes twice as long as it should counts no more",
        UnitState(long=(Prefill(20_000, 7.0),), role="long", role_age_s=60),
        (3419, 1),
    ),
    (
        "an answer in one piece counts as prefill for little more than the estimate",
        UnitState(long=(Prefill(20_000, 4.0, streams=False),), role="long", role_age_s=60),
        (3419, 1),
    ),
    (
        "so do short ones: a unit is not held up by answers that are being written",
        UnitState(short=(*[Prefill(1000, 1.0, streams=False)] * 20,), short_held=20),
        (3419, 0),
    ),
    (
        "a unit that became Long waits for its short jobs",
        UnitState(short_held=3, role="long", role_age_s=0.5),
        (3419, 0),
    ),
    ("but not for long", UnitState(short_held=3, role="long", role_age_s=1.5), (3419, 1)),
    ("a Short unit with short jobs takes no long one", UnitState(short_held=1), (3419, 0)),
    ("at half the pace half as much fits", UnitState(pace=2.0), (1710, 1)),
]


@pytest.mark.parametrize(
    ("state", "most"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_bounds(state: UnitState, most: tuple[int, int]) -> None:
    found = bounds(state, POLICY)
    assert (found.short_tokens, found.long_jobs) == most


def test_several_long_prefills_can_be_asked_for() -> None:
    state = UnitState(long=short(20_000), role="long", role_age_s=60)
    policy = Policy(policy="adaptive", adaptive_long_prefills=2)
    assert bounds(state, policy).long_jobs == 1


def test_prefills_are_done_one_after_the_other() -> None:
    """What the second takes comes on top, and only the first has got on since its claim."""
    one = POLICY.prefill_s(10_000)
    both = [Prefill(10_000, 0.5), Prefill(10_000, 0.4)]
    assert left_s(both, POLICY, 1.0) == pytest.approx(2 * one - 0.5)


def test_a_late_first_byte_leaves_a_little_to_do() -> None:
    one = POLICY.prefill_s(10_000)
    assert left_s([Prefill(10_000, one * 1.5)], POLICY, 1.0) == pytest.approx(one / 10)


def test_the_pace_follows_long_prefills_within_a_few() -> None:
    pace = Pace()
    for at in range(0, 100, 10):
        pace.first_byte(at + 2 * POLICY.prefill_s(20_000), at, 20_000, POLICY, long=True)
    assert pace.value == pytest.approx(2, rel=0.2)


def test_the_prompt_before_is_not_counted_against_the_one_behind_it() -> None:
    pace = Pace()
    whole_s = POLICY.prefill_s(20_000)
    pace.first_byte(whole_s, 0, 20_000, POLICY, long=True)
    pace.first_byte(2 * whole_s, 0, 20_000, POLICY, long=True)
    assert pace.value == pytest.approx(1, rel=0.01)


def test_short_prompts_do_not_tell_the_pace() -> None:
    pace = Pace()
    pace.first_byte(9, 0, 100, POLICY, long=False)
    assert pace.value == 1


def test_the_pace_stays_within_reason() -> None:
    pace = Pace()
    for at in range(0, 10_000, 1000):
        pace.first_byte(at + 900, at, 5000, POLICY, long=True)
    assert pace.value == 10
