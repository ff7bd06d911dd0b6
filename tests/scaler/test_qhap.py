"""Q-HAP's decision, by table and by property."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.keys import CLASSES, other_class
from common.models import PoolView, QueueView, UnitView
from common.policy import Policy
from scaler import qhap
from scaler.qhap import Flip


def unit(name: str, role: str, in_flight: int = 0, **more: bool) -> UnitView:
    fields = {"alive": True, "draining": False} | more
    return UnitView(name=name, role=role, short=in_flight, long=0, **fields)  # type: ignore[arg-type]  # a role as the table writes it


def decide(view: PoolView, policy: Policy) -> Flip | None:
    """The decision on a pool, with the unit that Redis would name (tests/lua has that script)."""
    groups = {role: counted(view, role) for role in CLASSES}
    waiting = view.queues["long"].depth
    wanted = qhap.decide(len(groups["short"]), len(groups["long"]), waiting, policy)
    if wanted is None:
        return None
    chosen = min(groups[other_class(wanted.to)], key=lambda one: (one.in_flight, one.name))
    return Flip(chosen.name, wanted.to, wanted.reason)


def pool(text: str, queue_long: int = 0, queue_short: int = 0) -> PoolView:
    """`S3 L0 S1!` is a Short unit with 3 jobs, an idle Long one, and a dead Short one; ~ drains."""
    units = [
        unit(
            f"unit-{number}",
            "short" if word[0] == "S" else "long",
            int(word[1:].strip("!~")),
            alive="!" not in word,
            draining="~" in word,
        )
        for number, word in enumerate(text.split(), start=1)
    ]
    queues = {
        "short": QueueView(queue_short, None, 0),
        "long": QueueView(queue_long, None, 0),
    }
    return PoolView(now_ms=0, units=tuple(units), queues=queues, overrides={})  # type: ignore[arg-type]  # literal keys


TABLE = [
    # the published rules
    ("above the threshold a Short unit becomes Long", "S1 S1 L0", 11, {}, ("unit-1", "long")),
    ("at the threshold nothing happens", "S1 S1 L0", 10, {}, None),
    ("the Short unit with the fewest jobs goes", "S3 S1 S2 L0", 11, {}, ("unit-2", "long")),
    ("among equals the first name goes", "S2 S2 L0", 11, {}, ("unit-1", "long")),
    ("the last Short unit stays", "S0 L0 L0", 99, {}, None),
    ("more Short units can be asked for", "S0 S0 L0", 99, {"qhap_min_short": 2}, None),
    ("below the threshold a Long unit becomes Short", "S0 L1 L1", 1, {}, ("unit-2", "short")),
    ("at the lower threshold nothing happens", "S0 L1 L1", 2, {}, None),
    ("the Long unit with the fewest jobs goes", "S0 L3 L1 L2", 0, {}, ("unit-3", "short")),
    ("the last Long unit stays", "S0 S0 L0", 0, {}, None),
    ("the literal rules let it go", "S0 S0 L0", 0, {"qhap_min_long": 0}, ("unit-3", "short")),
    ("the literal rules ask for no Long unit", "S0 S0 S0", 5, {"qhap_min_long": 0}, None),
    # repairs
    ("a pool of Short units gets a Long one", "S1 S0 S0", 0, {}, ("unit-2", "long")),
    ("one unit alone stays Short", "S0", 99, {}, None),
    ("a pool of Long units gets a Short one", "L0 L0", 99, {}, ("unit-1", "short")),
    ("Short units come before Long ones", "L0", 99, {}, ("unit-1", "short")),
    # who counts
    ("a dead Short unit is none", "S0! S0 L0", 99, {}, None),
    ("a draining Short unit is none", "S0~ S0 L0", 99, {}, None),
    ("a dead Long unit is replaced", "S0 S0 L0!", 0, {}, ("unit-1", "long")),
    ("a dead Short unit is replaced", "S0! L0 L0", 99, {}, ("unit-2", "short")),
    ("an empty pool is left alone", "", 99, {}, None),
    ("a dead pool is left alone", "S0! L0!", 99, {}, None),
]


@pytest.mark.parametrize(
    ("text", "queue_long", "settings", "expected"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_a_decision_is_what_the_rules_say(
    text: str, queue_long: int, settings: dict[str, int], expected: tuple[str, str] | None
) -> None:
    flip = decide(pool(text, queue_long), Policy(**settings))  # type: ignore[arg-type]  # ints
    assert (flip and (flip.unit, flip.to)) == expected


def test_the_short_queue_decides_nothing() -> None:
    assert decide(pool("S0 S0 L0", 5, queue_short=500), Policy()) is None


def test_a_flip_says_why() -> None:
    flip = decide(pool("S0 S0 L0", 12), Policy())
    assert flip == Flip("unit-1", "long", "12 long jobs wait, more than 10")


UNITS = st.lists(
    st.builds(
        UnitView,
        name=st.text("abc", min_size=1, max_size=4),
        role=st.sampled_from(["short", "long"]),
        alive=st.booleans(),
        draining=st.booleans(),
        short=st.integers(0, 8),
        long=st.integers(0, 8),
    ),
    max_size=8,
    unique_by=lambda unit: unit.name,
)
VIEWS = st.builds(
    lambda units, short, long: PoolView(
        0,
        tuple(units),
        {"short": QueueView(short, None, 0), "long": QueueView(long, None, 0)},
        {},
    ),
    UNITS,
    st.integers(0, 50),
    st.integers(0, 50),
)
POLICIES = st.builds(
    lambda down, gap, min_short, min_long: Policy(
        qhap_scale_down_below=down,
        qhap_scale_up_above=down + gap,
        qhap_min_short=min_short,
        qhap_min_long=min_long,
    ),
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(1, 4),
    st.integers(0, 4),
)


def counted(view: PoolView, role: str) -> list[UnitView]:
    return [unit for unit in view.units if unit.alive and not unit.draining and unit.role == role]


def after(view: PoolView, flip: Flip) -> PoolView:
    units = [replace(one, role=flip.to) if one.name == flip.unit else one for one in view.units]
    return replace(view, units=tuple(units))


@given(VIEWS, POLICIES)
def test_no_decision_leaves_too_few_short_units(view: PoolView, policy: Policy) -> None:
    flip = decide(view, policy)
    if flip:
        before, then = len(counted(view, "short")), len(counted(after(view, flip), "short"))
        assert then >= policy.qhap_min_short or then > before


@given(VIEWS, POLICIES)
def test_no_decision_takes_a_long_unit_that_is_needed(view: PoolView, policy: Policy) -> None:
    flip = decide(view, policy)
    if flip and flip.to == "short" and len(counted(view, "short")) >= policy.qhap_min_short:
        assert len(counted(after(view, flip), "long")) >= policy.qhap_min_long


@given(VIEWS, POLICIES)
def test_the_same_view_gets_the_same_decision(view: PoolView, policy: Policy) -> None:
    shuffled = replace(view, units=tuple(reversed(view.units)))
    assert decide(view, policy) == decide(view, policy) == decide(shuffled, policy)


@given(VIEWS, POLICIES)
def test_a_dead_or_draining_unit_is_never_flipped(view: PoolView, policy: Policy) -> None:
    flip = decide(view, policy)
    if flip:
        chosen = next(unit for unit in view.units if unit.name == flip.unit)
        assert chosen.alive
        assert not chosen.draining
        assert chosen.role != flip.to


@given(VIEWS, POLICIES)
def test_roles_settle_while_the_queue_stays_as_it_is(view: PoolView, policy: Policy) -> None:
    seen = []
    for _ in range(len(view.units) + 1):
        flip = decide(view, policy)
        if flip is None:
            break
        seen.append(flip)
        view = after(view, flip)
    assert decide(view, policy) is None
    assert len({flip.unit for flip in seen}) == len(seen), "a unit was flipped back"
