"""How bold steals may be, from what the last ones cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.policy import Policy
from common.steals import Stealing
from scaler.stealing import StealLimits, first_limits, next_limits

POLICY = Policy(policy="adaptive")
IDLE_S, MOST_IDLE_S = POLICY.rasp_steal_cooldown_s, POLICY.adaptive_steal_idle_most_s
LEAST, MOST = POLICY.adaptive_steal_tokens_least, POLICY.adaptive_steal_tokens_most
NOTHING = Stealing()


def after(steals: int, regret_s: float, prefill_s: float) -> Stealing:
    return Stealing(steals, regret_s, prefill_s)


def moved(limits: StealLimits, now: Stealing = NOTHING, passed_s: float = 0.2) -> StealLimits:
    return next_limits(limits, NOTHING, now, passed_s, POLICY)


def test_they_begin_as_the_published_rules_say() -> None:
    assert first_limits(NOTHING, POLICY) == StealLimits(IDLE_S, MOST)


def test_a_scaler_that_takes_over_begins_where_the_last_one_was() -> None:
    assert first_limits(Stealing(idle_s=8.0, tokens=20_000), POLICY) == StealLimits(8.0, 20_000)


def test_a_steal_that_costs_too_much_halves_and_doubles() -> None:
    assert moved(StealLimits(3, 40_000), after(1, 4.1, 10)) == StealLimits(6, 20_000)


def test_one_that_costs_little_changes_nothing_by_itself() -> None:
    limits = StealLimits(3, 40_000)
    assert moved(limits, after(1, 1.0, 10)) == moved(limits)
    assert moved(limits, after(1, 3.9, 10)).tokens > limits.tokens


def test_several_that_cost_a_little_too_much_count_together() -> None:
    limits = moved(StealLimits(3, 40_000), after(1, 3, 10))
    assert limits.debt_s == 2
    now = next_limits(limits, after(1, 3, 10), after(2, 6, 20), 0.2, POLICY)
    assert (now.tokens, now.debt_s) == (limits.tokens / 2, 0)


def test_those_that_cost_nothing_pay_for_others() -> None:
    limits = moved(StealLimits(3, 40_000, debt_s=2.5), after(3, 0, 20))
    assert limits.debt_s == 0.5
    assert moved(limits, after(1, 0, 100)).debt_s == 0


def test_time_makes_them_bolder_until_they_are_as_published() -> None:
    limits = StealLimits(MOST_IDLE_S, LEAST)
    half = moved(limits, passed_s=POLICY.adaptive_steal_recovery_s / 2)
    assert half.idle_s == pytest.approx((IDLE_S + MOST_IDLE_S) / 2)
    assert half.tokens == pytest.approx((LEAST + MOST) / 2)
    assert moved(limits, passed_s=1e6) == StealLimits(IDLE_S, MOST)


def test_what_was_counted_before_redis_lost_its_memory_is_no_cost() -> None:
    limits = StealLimits(3, 40_000)
    found = next_limits(limits, after(9, 50, 60), after(1, 9, 10), 0.2, POLICY)
    assert found.idle_s < 3


@given(
    limits=st.tuples(st.floats(0, 1000), st.floats(0, 1e6)),
    costs=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=20),
)
def test_they_stay_within_the_settings(
    limits: tuple[float, float], costs: list[tuple[float, float]]
) -> None:
    now = StealLimits(*limits)
    for steals, (regret_s, prefill_s) in enumerate(costs, start=1):
        now = moved(now, after(steals, regret_s, prefill_s))
        assert IDLE_S <= now.idle_s <= MOST_IDLE_S
        assert LEAST <= now.tokens <= MOST
