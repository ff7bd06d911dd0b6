"""Which long job is handed back for short ones, by table."""

from typing import Any

import pytest

from common.models import PoolView, Prefilling, QueueView, UnitView
from common.policy import Policy
from scaler.adaptive import Snapshot, UnitWork
from scaler.demand import Demand
from scaler.revoking import Budget, Revocation, decide

POLICY = Policy(policy="adaptive")
NOW_MS = 1_000_000
RICH_S = 1000.0


def seen(
    *held: str, waited_s: float | None = 0.5, waiting: int = 1, **changes: dict[str, Any]
) -> Snapshot:
    """`S 60000/2` is a Short unit that prefills so many tokens for 2 s; `S` prefills nothing.

    `changes` are of the job of a unit, by the unit's number, as u1.
    """
    units, work, prefilling = [], {}, []
    for number, text in enumerate(held, start=1):
        name, (role, _, job) = f"unit-{number}", text.partition(" ")
        units.append(
            UnitView(name, "short" if role == "S" else "long", True, False, 0, bool(job))  # noqa: FBT003  # fields in order
        )
        if job:
            tokens, age_s = job.split("/")
            fields: dict[str, Any] = {
                "unit": name,
                "job_class": "long",
                "tokens": int(tokens),
                "claimed_ms": NOW_MS - round(float(age_s) * 1000),
                "streams": True,
                "job": f"job-{number}",
                "attempt": 1,
            }
            one = Prefilling(**(fields | changes.get(f"u{number}", {})))
            prefilling.append(one)
            left_s = POLICY.prefill_s(one.tokens) - float(age_s)
            work[name] = UnitWork(long_s=left_s, long_prefills=1)
    queues: Any = {"short": QueueView(waiting, waited_s, 0), "long": QueueView(0, None, 0)}
    return Snapshot(
        view=PoolView(NOW_MS, tuple(units), queues, {}),
        work=work,
        demand=Demand(jobs_per_s=1, job_s=0.1),
        prefilling=tuple(prefilling),
    )


def chosen(snapshot: Snapshot, policy: Policy = POLICY, budget_s: float = RICH_S) -> str:
    found = decide(snapshot, policy, budget_s)
    return found.found.job if found else ""


TABLE: list[tuple[str, Snapshot, str]] = [
    ("a chat that waits gets the unit of a long prefill", seen("S 60000/2"), "job-1"),
    ("nobody waits", seen("S 60000/2", waited_s=None, waiting=0), ""),
    ("it has only just come", seen("S 60000/2", waited_s=0.05), ""),
    ("the prefill is nearly over", seen("S 60000/13"), ""),
    ("another unit is free soon", seen("S 60000/2", "S 60000/13"), ""),
    ("a unit without a long prefill takes the chat", seen("S 60000/2", "S"), ""),
    ("a crowd is more than that one can do", seen("S 60000/2", "S", waiting=40), "job-1"),
    ("of two the one that has done less", seen("S 60000/2", "S 60000/1"), "job-2"),
    ("what was stolen before what a Long unit has", seen("L 60000/1", "L", "S 60000/3"), "job-3"),
    ("a Long unit's when there is nothing else", seen("L 60000/1", "L", "S", waiting=40), "job-1"),
    ("the last Long unit keeps its own", seen("L 60000/1", "S", waiting=40), ""),
    ("it was handed back before", seen("S 60000/2", u1={"revoked": 1}), ""),
    ("a short job is none to hand back", seen("S 60000/2", u1={"job_class": "short"}), ""),
    (
        "an answer in one piece may have begun: past its estimate it is kept",
        seen("S 30000/7", u1={"streams": False}),
        "",
    ),
]


@pytest.mark.parametrize(("snapshot", "job"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_which_one(snapshot: Snapshot, job: str) -> None:
    assert chosen(snapshot) == job


def test_a_long_unit_is_to_become_short_first() -> None:
    found = decide(seen("L 60000/1", "L", "S", waiting=40), POLICY, RICH_S)
    assert isinstance(found, Revocation)
    assert found.flips
    short = decide(seen("S 60000/1"), POLICY, RICH_S)
    assert short
    assert not short.flips


def test_what_it_would_throw_away_must_be_in_the_budget() -> None:
    assert chosen(seen("S 60000/2"), budget_s=1.9) == ""
    assert chosen(seen("S 60000/2"), budget_s=2.0) == "job-1"


def test_none_is_handed_back_when_the_settings_say_so() -> None:
    never = POLICY.model_copy(update={"adaptive_revocations": 0})
    assert chosen(seen("S 60000/2"), never) == ""


def test_the_budget_is_a_share_of_the_units_time_of_which_some_is_saved() -> None:
    policy = POLICY.model_copy(update={"adaptive_revoke_share": 0.1})
    budget = Budget()
    budget.spend(Budget.SAVED_S)
    budget.grow(units=4, passed_s=10, policy=policy)
    assert budget.left_s == pytest.approx(4.0)
    budget.grow(units=4, passed_s=1e6, policy=policy)
    assert budget.left_s == Budget.SAVED_S
