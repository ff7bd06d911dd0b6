"""The adaptive decision, by table: who gives, who takes back, and what must hold whatever comes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.models import PoolView, QueueView, UnitView
from common.policy import Policy
from scaler.adaptive import Snapshot, UnitWork, decide
from scaler.demand import Demand
from scaler.qhap import Flip

POLICY = Policy(
    policy="adaptive", worker_concurrency_limit_short=64, worker_concurrency_limit_long=4
)


def seen(
    text: str,
    load: float = 0.5,
    waiting_long: int = 0,
    waiting_short: int = 0,
    short_waited_s: float | None = None,
    next_long_s: float = 1.0,
    **work: UnitWork,
) -> Snapshot:
    """`S3/0 L0/2` is a Short unit with 3 short jobs and a Long one with 2 long ones; ! is dead.

    `load` is that of arriving short jobs; work is by the unit's number, as u1.
    """
    units = []
    for number, word in enumerate(text.split(), start=1):
        short, long = word[1:].strip("!").split("/")
        units.append(
            UnitView(
                name=f"unit-{number}",
                role="short" if word[0] == "S" else "long",
                alive="!" not in word,
                draining=False,
                short=int(short),
                long=int(long),
            )
        )
    queues: Any = {
        "short": QueueView(waiting_short, short_waited_s, 0),
        "long": QueueView(waiting_long, 1.0 if waiting_long else None, 0),
    }
    return Snapshot(
        view=PoolView(now_ms=0, units=tuple(units), queues=queues, overrides={}),
        work={f"unit-{name[1:]}": one for name, one in work.items()},
        demand=Demand(jobs_per_s=load * 10, job_s=0.1),
        next_long_s=next_long_s,
    )


def prefills(long_s: float) -> UnitWork:
    return UnitWork(long_s=long_s, long_prefills=1)


def wanted(flip: Flip | None) -> tuple[str, str] | None:
    return flip and (flip.unit, flip.to)


TABLE: list[tuple[str, Snapshot, tuple[str, str] | None]] = [
    # repairs, as with the published rules
    ("a pool of Short units gets a Long one", seen("S1/0 S0/0"), ("unit-2", "long")),
    ("a pool of Long units gets a Short one", seen("L0/0 L0/1"), ("unit-1", "short")),
    ("one unit alone stays Short", seen("S0/0", waiting_long=5), None),
    # giving a unit to long jobs
    ("nothing waits, nothing flips", seen("S5/0 S5/0 L0/1"), None),
    (
        "a long job that no Long unit can begin gets the Short unit with the fewest jobs",
        seen("S5/0 S4/0 S6/0 L0/1", waiting_long=1, u4=prefills(3)),
        ("unit-2", "long"),
    ),
    (
        "a Long unit that can begin it keeps the others Short",
        seen("S5/0 S4/0 S6/0 L0/1", waiting_long=1),
        None,
    ),
    (
        "a Long unit without a slot cannot begin it",
        seen("S5/0 S4/0 S6/0 L0/4", waiting_long=1),
        ("unit-2", "long"),
    ),
    (
        "the Short group keeps what its load needs",
        seen("S5/0 S4/0 L0/1", load=0.7, waiting_long=1, u3=prefills(3)),
        None,
    ),
    (
        "it keeps more before a long commitment",
        seen("S5/0 S4/0 L0/1", load=0.4, waiting_long=1, next_long_s=30, u3=prefills(3)),
        None,
    ),
    (
        "the same load gives for a short commitment",
        seen("S5/0 S4/0 L0/1", load=0.4, waiting_long=1, next_long_s=1, u3=prefills(3)),
        ("unit-2", "long"),
    ),
    (
        "work at the units counts as load",
        seen("S5/0 S4/0 L0/1", load=0.4, waiting_long=1, u1=UnitWork(short_s=2), u3=prefills(3)),
        None,
    ),
    (
        "a Short unit that still prefills a long job carries nothing",
        seen("S5/0 S4/0 S0/1 L0/1", load=0.9, waiting_long=1, u3=prefills(9), u4=prefills(3)),
        None,
    ),
    (
        "no unit is given while short jobs wait",
        seen("S5/0 S4/0 S6/0 L0/1", waiting_long=1, waiting_short=1, u4=prefills(3)),
        None,
    ),
    (
        "the last Short unit stays",
        seen("S0/0 L0/4", load=0, waiting_long=9),
        None,
    ),
    # taking one back
    (
        "a short job that waited gets the Long unit that is free soonest",
        seen("S9/0 L0/2 L0/2", waiting_short=1, short_waited_s=0.2, u2=prefills(2), u3=prefills(1)),
        ("unit-3", "short"),
    ),
    (
        "one that will prefill for long is no help",
        seen("S9/0 L0/2 L0/2", waiting_short=1, short_waited_s=0.2, u2=prefills(9), u3=prefills(8)),
        None,
    ),
    (
        "a load that the Short group cannot carry takes one before anybody waits",
        seen("S9/0 L0/2 L0/1", load=0.9),
        ("unit-3", "short"),
    ),
    ("the last Long unit stays", seen("S9/0 L0/2", waiting_short=9, short_waited_s=9), None),
    (
        "a dead Long unit is not taken back",
        seen("S9/0 L0/2! L0/3 L0/2", waiting_short=1, short_waited_s=1),
        ("unit-4", "short"),
    ),
]


@pytest.mark.parametrize(
    ("snapshot", "flip"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_decision(snapshot: Snapshot, flip: tuple[str, str] | None) -> None:
    assert wanted(decide(snapshot, POLICY)) == flip


def test_the_more_units_share_a_load_the_less_is_kept_spare() -> None:
    """Two Short units may not be as busy as ten before one of them is given away."""

    def gives(units: int, load: float) -> bool:
        text = "S1/0 " * units + "L0/4"
        return decide(seen(text, load=load, waiting_long=1), POLICY) is not None

    assert not gives(2, 0.75)
    assert gives(11, 7.5)


WORK = st.builds(
    UnitWork,
    short_s=st.floats(0, 5),
    long_s=st.floats(0, 40),
    long_prefills=st.integers(0, 2),
)


@given(
    words=st.lists(
        st.sampled_from(["S0/0", "S9/0", "S2/1", "S0/0!", "L0/0", "L0/4", "L3/1", "L0/1!"]),
        min_size=1,
        max_size=9,
    ),
    work=st.lists(WORK, min_size=9, max_size=9),
    load=st.floats(0, 9),
    waiting=st.tuples(st.integers(0, 20), st.integers(0, 20)),
)
def test_no_decision_empties_a_role(
    words: list[str], work: list[UnitWork], load: float, waiting: tuple[int, int]
) -> None:
    by_number = {f"u{number}": one for number, one in enumerate(work, start=1)}
    snapshot = seen(
        " ".join(words), load=load, waiting_long=waiting[0], waiting_short=waiting[1],
        short_waited_s=1.0 if waiting[1] else None, **by_number,
    )  # fmt: skip
    flip = decide(snapshot, POLICY)
    if flip is None:
        return
    living = {unit.name: unit.role for unit in snapshot.view.units if unit.alive}
    assert living[flip.unit] != flip.to
    after = [*(living | {flip.unit: flip.to}).values()]
    assert after.count("short") >= 1
    # A pool of one is Short; in any other the last Long unit never goes.
    assert flip.to == "long" or after.count("long") >= 1 or list(living.values()) == ["long"]
