"""What `adasplit explain` makes of a job's record and events."""

from typing import Any

import pytest

from cli.explanation import Explanation, explain_job

NOW_MS = 100_000


def event(at_ms: int, kind: str, job: str = "", **fields: Any) -> dict[str, str]:
    named = {"event": kind, "at_ms": at_ms, "id": f"{at_ms}-0"} | ({"job": job} if job else {})
    return {name: str(value) for name, value in {**named, **fields}.items()}


def record(**fields: Any) -> dict[str, str]:
    usual = {"class": "long", "state": "queued", "tokens": 9000, "submitted_ms": 10_000}
    return {name: str(value) for name, value in {**usual, "attempt": 0, **fields}.items()}


SUBMITTED = event(10_000, "submitted", "me", **{"class": "long"}, depth=3)


def claimed(at_ms: int, job: str, job_class: str = "long", **fields: Any) -> dict[str, str]:
    usual = {"class": job_class, "unit": "unit-1", "attempt": 1, "role": "long", "why": "own"}
    return event(at_ms, "claimed", job, **{**usual, **fields})


def finished(**fields: Any) -> dict[str, str]:
    ended = {"state": "finished", "outcome": "ok", "status": 200, "unit": "unit-1", "attempt": 1}
    return record(**{**ended, "claimed_ms": 14_000, "first_byte_ms": 15_000, **fields})


def test_those_ahead_are_the_jobs_of_its_class_claimed_while_it_waited() -> None:
    events = [
        claimed(9_000, "earlier"),
        SUBMITTED,
        claimed(11_000, "a"),
        claimed(11_500, "chat", "short"),
        claimed(12_000, "b"),
        claimed(12_500, "a", attempt=2),
        claimed(14_000, "me"),
        claimed(15_000, "later"),
    ]
    story = explain_job("me", finished(finished_ms=18_000), events, NOW_MS)
    assert (story.ahead, story.ahead_first) == (2, ("a", "b"))
    assert "2 jobs were ahead" in story.waited_for


def test_times_count_from_the_submit() -> None:
    events = [SUBMITTED, claimed(14_000, "me"), event(18_000, "finished", "me", outcome="ok")]
    story = explain_job("me", finished(finished_ms=18_000), events, NOW_MS)
    assert (story.queue_s, story.first_byte_s, story.total_s) == (4.0, 5.0, 8.0)
    assert [step.at_s for step in story.steps] == [0.0, 4.0, 8.0]


def test_flips_while_it_waited_are_told_and_others_are_not() -> None:
    events = [
        SUBMITTED,
        event(12_000, "flipped", unit="unit-2", to="long", reason="11 long jobs wait"),
        claimed(14_000, "me"),
        event(16_000, "flipped", unit="unit-2", to="short"),
    ]
    story = explain_job("me", finished(finished_ms=18_000), events, NOW_MS)
    assert story.flips == 1
    assert story.waited_for == "a unit that became Long"
    assert "(unit-2 became Long): 11 long jobs wait" in [step.what for step in story.steps]


def test_a_steal_is_called_one() -> None:
    stolen = claimed(14_000, "me", unit="unit-3", role="short", why="stolen") | {"event": "stolen"}
    fields = finished(finished_ms=18_000, why="stolen")
    story = explain_job("me", fields, [SUBMITTED, stolen], NOW_MS)
    assert story.stolen
    assert "idle" in story.waited_for
    assert "stolen: the Short unit had been idle" in story.steps[-1].what


def test_a_steal_is_told_with_what_it_cost_and_that_it_was_handed_back() -> None:
    events = [
        SUBMITTED,
        claimed(14_000, "me", role="short", why="stolen") | {"event": "stolen"},
        event(15_500, "revoked", "me", unit="unit-1", reason="a short job has waited 0.3 s"),
        event(15_600, "weighed", "me", unit="unit-1", regret_ms=450, prefill_ms=1600),
    ]
    fields = record(state="queued", claimed_ms=14_000, unit="unit-1", regret_ms=450, revoked=1)
    story = explain_job("me", fields, events, NOW_MS)
    assert (story.regret_s, story.revoked, story.held_up_by) == (0.45, 1, ())
    assert [step.what for step in story.steps[2:]] == [
        "unit-1 was asked to hand it back: a short job has waited 0.3 s",
        "while it prefilled on unit-1 for 1.6 s, short jobs lost 0.5 s to it",
    ]


def test_a_short_job_is_told_which_steals_held_it_up() -> None:
    def weighed(at_ms: int, job: str, regret_ms: int) -> dict[str, str]:
        return event(at_ms, "weighed", job, unit="u", regret_ms=regret_ms, prefill_ms=2000)

    events = [
        event(10_000, "submitted", "me", **{"class": "short"}, depth=0),
        weighed(9_500, "over before", 10),
        weighed(11_000, "in its way", 1000),
        weighed(11_500, "harmless", 0),
        claimed(11_010, "me", "short"),
        weighed(15_000, "later", 10),
    ]
    fields = finished(
        **{"class": "short"}, claimed_ms=11_010, first_byte_ms=12_000, finished_ms=18_000
    )
    story = explain_job("me", fields, events, NOW_MS)
    assert (story.held_up_by, story.regret_s) == (("in its way",), None)


def test_every_attempt_and_its_unit_is_told() -> None:
    events = [
        SUBMITTED,
        claimed(14_000, "me"),
        event(15_000, "requeued", "me", unit="unit-1", attempt=1, reason="connection refused"),
        claimed(16_000, "me", unit="unit-2", attempt=2, why="requeued"),
        event(17_000, "reclaimed", "me", unit="unit-2", attempt=2, reason="lease lapsed"),
    ]
    fields = record(state="queued", attempt=2, claimed_ms=16_000, unit="unit-2")
    story = explain_job("me", fields, events, NOW_MS)
    assert (story.attempts, story.units, story.queue_s) == (2, ("unit-1", "unit-2"), 4.0)
    assert [step.what for step in story.steps[2:]] == [
        "unit-1 gave it back: connection refused",
        "unit-2 claimed it for attempt 2 (given back before, so it came ahead of newer jobs)",
        "taken back from unit-2: lease lapsed",
    ]


def test_a_job_that_waits_is_told_so_far() -> None:
    story = explain_job("me", record(), [SUBMITTED], NOW_MS)
    assert (story.waited_s, story.queue_s, story.total_s) == (90.0, None, None)
    assert story.waited_for == "a free slot on a Long unit; none has taken it"


@pytest.mark.parametrize("outcome", ["cancelled", "expired"])
def test_a_job_that_nobody_claimed_is_told_to_its_end(outcome: str) -> None:
    fields = record(state="finished", outcome=outcome, reason="why so", finished_ms=13_000)
    events = [SUBMITTED, event(13_000, outcome, "me", reason="why so"), claimed(14_000, "later")]
    story = explain_job("me", fields, events, NOW_MS)
    assert (story.waited_s, story.total_s, story.units) == (3.0, 3.0, ())
    assert (story.outcome, story.reason, story.ahead) == (outcome, "why so", 0)
    assert story.steps[-1].what == f"{outcome}: why so"


def test_a_job_claimed_at_once_waited_for_nothing() -> None:
    fields = finished(claimed_ms=10_003, finished_ms=11_000)
    story = explain_job("me", fields, [SUBMITTED, claimed(10_003, "me")], NOW_MS)
    assert story.waited_for == "nothing: a unit had a free slot"


def test_events_that_are_gone_are_no_error_and_are_said() -> None:
    story: Explanation = explain_job("me", finished(finished_ms=18_000), [], NOW_MS)
    assert not story.complete
    assert (story.queue_s, story.units) == (4.0, ("unit-1",))
