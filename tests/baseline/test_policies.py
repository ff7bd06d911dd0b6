"""The policies, and the books that they decide from: pure, so that any clock will do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baseline.policies import NAMES, policy_named
from baseline.pool import Job, Pool, Unit
from baseline.queues import Placed, QueueFull, Queues
from common.keys import CLASSES, JobClass

UNITS = ("unit-1", "unit-2", "unit-3", "unit-4")
NO_BOUND: dict[JobClass, int] = {"short": 10_000, "long": 10_000}


def queues(
    policy: str, *, short: int | None = None, limits: tuple[int, int] = (8, 8), units: int = 4
) -> Queues:
    names = UNITS[:units]
    slots = [Unit(name, *limits) for name in names]
    return Queues(policy_named(policy, names, short), slots, NO_BOUND)


def submitted(books: Queues, *classes: JobClass) -> list[str | None]:
    """Submit jobs called 0, 1, …; answers for each where it went at once, or None."""
    found: list[str | None] = []
    for number, job_class in enumerate(classes):
        placed = books.submit(Job(str(number), job_class))
        found.append(next((one.unit for one in placed if one.job.id == str(number)), None))
    return found


def test_round_robin_gives_to_each_unit_in_turn_whatever_the_class() -> None:
    where = submitted(queues("round-robin"), "long", "short", "short", "short", "long")
    assert where == ["unit-1", "unit-2", "unit-3", "unit-4", "unit-1"]


def test_least_in_flight_gives_to_the_unit_with_the_fewest_jobs() -> None:
    books = queues("least-in-flight", units=3)
    assert submitted(books, "short", "short", "short") == ["unit-1", "unit-2", "unit-3"]
    books.end("1")
    assert books.submit(Job("next", "long"))[0].unit == "unit-2"


def test_equals_take_turns() -> None:
    books = queues("least-in-flight")
    for number in range(8):
        (placed,) = books.submit(Job(f"job-{number}", "short"))
        assert placed.unit == UNITS[number % 4]
        books.end(f"job-{number}")


@pytest.mark.parametrize("policy", ["round-robin", "least-in-flight"])
def test_balancers_never_let_a_job_wait(policy: str) -> None:
    assert None not in submitted(queues(policy), *["short"] * 100)


def test_a_static_partition_keeps_each_class_on_its_units() -> None:
    books = queues("static", short=1)
    where = submitted(books, *["short", "long"] * 4)
    assert where[::2] == ["unit-1"] * 4
    assert set(where[1::2]) == {"unit-2", "unit-3", "unit-4"}
    assert [unit.in_flight for unit in books.units] == [4, 1, 1, 2]


def test_a_static_partition_lets_a_class_wait_while_the_other_s_units_are_idle() -> None:
    books = queues("static", short=3)
    where = submitted(books, *["long"] * 9)
    assert where == ["unit-4"] * 8 + [None]
    assert books.depth("long") == 1
    assert books.end("0") == [Placed(Job("8", "long"), "unit-4")]
    assert books.depth("long") == 0


def test_fifo_takes_the_unit_with_the_least_load() -> None:
    books = queues("fifo", limits=(64, 8), units=2)
    assert submitted(books, "long", "short", "short") == ["unit-1", "unit-2", "unit-2"]


def test_fifo_keeps_the_order_though_a_later_job_would_fit() -> None:
    books = queues("fifo", limits=(64, 8), units=2)
    where = submitted(books, *["short"] * 2, *["long"] * 15)
    assert where[-1] is None
    # A short job would find a slot beside each unit's seven documents; it waits its turn.
    assert books.submit(Job("late", "short")) == []
    assert (books.depth("long"), books.depth("short")) == (1, 1)
    placed = books.end("2")
    assert [one.job.id for one in placed] == ["16", "late"]


def test_a_job_whose_client_left_frees_the_way_for_the_next() -> None:
    books = queues("fifo", limits=(64, 8), units=1)
    submitted(books, "short", *["long"] * 8, "short")
    assert books.depth("long") == 1
    placed = books.end("8")
    assert [one.job.id for one in placed] == ["9"]


def test_a_job_that_nobody_knows_can_end() -> None:
    assert queues("fifo").end("nobody") == []


def test_a_full_queue_refuses_its_class_only() -> None:
    policy = policy_named("static", UNITS, 2)
    books = Queues(policy, [Unit(name, 1, 1) for name in UNITS], {"short": 1, "long": 1})
    submitted(books, "long", "long", "long")
    with pytest.raises(QueueFull):
        books.submit(Job("more", "long"))
    assert books.depth("long") == 1
    assert books.submit(Job("chat", "short"))


def test_the_oldest_job_of_a_class_is_known() -> None:
    books = queues("fifo", limits=(1, 1), units=1)
    for number, job_class in enumerate(("short", "short", "long", "long")):
        books.submit(Job(str(number), job_class, submitted_s=float(number)))
    assert (books.oldest_s("short"), books.oldest_s("long")) == (1.0, 2.0)


@pytest.mark.parametrize("short", [0, 4, 5])
def test_a_partition_without_a_unit_for_a_class_is_refused(short: int) -> None:
    with pytest.raises(ValueError, match="each class needs one"):
        policy_named("static", UNITS, short)


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(ValueError, match="there is no policy best"):
        policy_named("best", UNITS)


def test_a_full_unit_is_full_to_the_last_slot() -> None:
    # 1/3 + 1/3 + 1/3 is not 1 in floating point.
    assert Unit("u", 3, 3, short=2).has_slot("short")
    assert not Unit("u", 3, 3, short=3).has_slot("short")
    assert Unit("u", 64, 8, short=8, long=6).has_slot("long")
    assert not Unit("u", 64, 8, short=9, long=6).has_slot("long")


@given(
    policy=st.sampled_from(NAMES),
    steps=st.lists(st.one_of(st.sampled_from(CLASSES), st.integers(0, 60)), max_size=120),
    limits=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_every_job_is_placed_once_and_slots_are_kept(
    policy: str, steps: list[JobClass | int], limits: tuple[int, int]
) -> None:
    books = queues(policy, limits=limits)
    placed: list[str] = []
    made = 0
    ended: set[str] = set()
    for step in steps:
        if isinstance(step, int):
            found = books.end(str(step))
            ended |= {str(step)} if step < made else set()
        else:
            found = books.submit(Job(str(made), step))
            made += 1
        placed += [one.job.id for one in found]
        if policy in {"static", "fifo"}:
            assert all(unit.load <= 1 + 1e-9 for unit in books.units)
    assert len(placed) == len(set(placed))
    waiting = sum(books.depth(name) for name in CLASSES)
    in_flight = sum(unit.in_flight for unit in books.units)
    assert waiting + in_flight == made - len(ended)


def test_the_same_pool_and_job_give_the_same_answer() -> None:
    pool = Pool(tuple(Unit(name, 8, 8, short=place) for place, name in enumerate(UNITS)), placed=7)
    for name in NAMES:
        policy = policy_named(name, UNITS)
        assert policy.decide(pool, Job("a", "short")) == policy.decide(pool, Job("a", "short"))
