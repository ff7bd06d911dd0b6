"""What happened to one job and why, from its record and the events of its time; a pure function.

Times count from the submit, in seconds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_AHEAD_SHOWN = 5

_CLAIMED = {
    "own": "a {role} unit, and it was its turn",
    "requeued": "given back before, so it came ahead of newer jobs",
    "stolen": "stolen: the Short unit had been idle and no short job waited",
    "borrowed": "borrowed: the Long unit had no long job and none waited",
    "starved": "it had waited longer than the starvation bound, so any unit could take it",
}

_WORDS = {
    "submitted": "submitted; {depth} {class} jobs waited before it",
    "claimed": "{unit} claimed it for attempt {attempt} ({why})",
    "stolen": "{unit} claimed it for attempt {attempt} ({why})",
    "requeued": "{unit} gave it back",
    "reclaimed": "taken back from {unit}",
    "revoked": "{unit} was asked to hand it back",
    "weighed": "while it prefilled on {unit} for {prefill} s, short jobs lost {regret} s to it",
    "finished": "{unit} finished it: {outcome}",
    "flipped": "({unit} became {To})",
}


@dataclass(frozen=True)
class Step:
    """Something that happened to the job, or to the pool while the job waited."""

    at_s: float
    what: str


@dataclass(frozen=True)
class Explanation:
    """All that `adasplit explain` says; None is what is not known or has not happened."""

    job: str
    job_class: str
    tokens: int
    state: str
    outcome: str | None
    reason: str | None
    status: int | None
    attempts: int
    units: tuple[str, ...]
    waited_s: float
    """From submit to the first claim, to its end when nobody claimed it, or to now."""
    queue_s: float | None
    first_byte_s: float | None
    total_s: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    waited_for: str
    ahead: int
    ahead_first: tuple[str, ...]
    stolen: bool
    regret_s: float | None
    """What short jobs lost while Short units prefilled it, all together."""
    revoked: int
    """How often it was handed back for short jobs."""
    held_up_by: tuple[str, ...]
    """Stolen jobs that prefilled, at the cost of short ones, while this short one waited."""
    flips: int
    steps: tuple[Step, ...]
    complete: bool
    """False when the events of the submit are gone already."""


def explain_job(
    job: str, fields: Mapping[str, str], events: Sequence[Mapping[str, str]], now_ms: int
) -> Explanation:
    """Explain a job by its record (`Views.job`) and the events from its submit on, in order."""
    submitted_ms = int(fields["submitted_ms"])
    own = [event for event in events if event.get("job") == job]
    claims = [event for event in own if event["event"] in {"claimed", "stolen"}]
    ended_ms = _number(fields, "finished_ms")
    # What is known of a first claim whose event is gone is the last one.
    claimed_ms = _at(claims[0]) if claims else _number(fields, "claimed_ms")
    until_ms = claimed_ms or ended_ms or now_ms
    waited_s = (until_ms - submitted_ms) / 1000
    waiting = [event for event in events if submitted_ms <= _at(event) <= until_ms]
    ahead = _ahead(job, fields["class"], waiting)
    flips = [event for event in waiting if event["event"] == "flipped"]
    first_byte_ms = _number(fields, "first_byte_ms") if fields.get("status") else None
    return Explanation(
        job=job,
        job_class=fields["class"],
        tokens=int(fields.get("tokens", 0)),
        state=fields["state"],
        outcome=fields.get("outcome"),
        reason=fields.get("reason") or None,
        status=_number(fields, "status") or None,
        attempts=int(fields.get("attempt", 0)),
        units=tuple(event["unit"] for event in claims) or _last_unit(fields),
        waited_s=waited_s,
        queue_s=_seconds(submitted_ms, claimed_ms),
        first_byte_s=_seconds(submitted_ms, first_byte_ms),
        total_s=_seconds(submitted_ms, ended_ms),
        prompt_tokens=_number(fields, "prompt_tokens") or None,
        completion_tokens=_number(fields, "completion_tokens") or None,
        waited_for=_waited_for(fields, waiting, len(ahead), waited_s),
        ahead=len(ahead),
        ahead_first=tuple(ahead[:_AHEAD_SHOWN]),
        stolen=any(event["event"] == "stolen" for event in claims),
        regret_s=_seconds(0, _number(fields, "regret_ms")),
        revoked=_number(fields, "revoked") or 0,
        held_up_by=_held_up_by(fields, events, first_byte_ms or until_ms),
        flips=len(flips),
        steps=tuple(_steps(own, flips, submitted_ms)),
        complete=any(event["event"] == "submitted" for event in own),
    )


def _ahead(job: str, job_class: str, waiting: Iterable[Mapping[str, str]]) -> list[str]:
    """Jobs of its class that were claimed between its submit and its claim."""
    claimed = (event for event in waiting if event["event"] in {"claimed", "stolen"})
    jobs = [event["job"] for event in claimed if event.get("class") == job_class]
    return [other for other in dict.fromkeys(jobs) if other != job]


def _held_up_by(
    fields: Mapping[str, str], events: Iterable[Mapping[str, str]], until_ms: int
) -> tuple[str, ...]:
    if fields["class"] == "long":
        return ()
    since_ms = int(fields["submitted_ms"])
    return tuple(
        event["job"]
        for event in events
        if event["event"] == "weighed"
        and int(event["regret_ms"])
        and _at(event) > since_ms
        and _at(event) - int(event["prefill_ms"]) < until_ms
    )


def _waited_for(
    fields: Mapping[str, str], waiting: Sequence[Mapping[str, str]], ahead: int, wait_s: float
) -> str:
    class_name = fields["class"].title()
    if "claimed_ms" not in fields:
        return f"a free slot on a {class_name} unit; none has taken it"
    if wait_s < 0.1:  # noqa: PLR2004  # a tenth of a second is no wait
        return "nothing: a unit had a free slot"
    if ahead:
        return f"slots of {class_name} units, for which {ahead} jobs were ahead of it"
    if fields.get("why") == "stolen":
        return "a Short unit that had been idle long enough, as no Long unit took it"
    if any(event["event"] == "flipped" and event.get("to") == fields["class"] for event in waiting):
        return f"a unit that became {class_name}"
    return f"a free slot on a {class_name} unit"


def _steps(
    own: Iterable[Mapping[str, str]], flips: Iterable[Mapping[str, str]], submitted_ms: int
) -> list[Step]:
    told = sorted([*own, *flips], key=_at)
    return [Step((_at(event) - submitted_ms) / 1000, _tell(event)) for event in told]


def _tell(event: Mapping[str, str]) -> str:
    why = _CLAIMED.get(event.get("why", ""), "").format(role=_role(event))
    known = _WORDS.get(event["event"], event["event"])
    spelled = {
        "why": why,
        "To": event.get("to", "").title(),
        "prefill": f"{int(event.get('prefill_ms', 0)) / 1000:.1f}",
        "regret": f"{int(event.get('regret_ms', 0)) / 1000:.1f}",
    }
    told = known.format_map(defaultdict(str, event) | spelled)
    return f"{told}: {event['reason']}" if event.get("reason") else told


def _role(event: Mapping[str, str]) -> str:
    return event.get("role", event.get("class", "")).title()


def _last_unit(fields: Mapping[str, str]) -> tuple[str, ...]:
    return (fields["unit"],) if "unit" in fields else ()


def _at(event: Mapping[str, str]) -> int:
    return int(event.get("at_ms") or event["id"].partition("-")[0])


def _number(fields: Mapping[str, Any], name: str) -> int | None:
    return int(fields[name]) if fields.get(name) not in {None, ""} else None


def _seconds(start_ms: int, end_ms: int | None) -> float | None:
    return None if end_ms is None else (end_ms - start_ms) / 1000
