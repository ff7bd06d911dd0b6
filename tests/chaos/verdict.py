"""What may have happened, given the faults, and what may not."""

import re
import time
from collections import Counter
from collections.abc import Iterable

from redis.asyncio import Redis

from common.keys import CLASSES, GROUP
from tests.chaos.faults import KEYS
from tests.chaos.fleet import Fleet
from tests.chaos.load import Result
from tests.chaos.redis_faults import Fault
from tests.chaos.watch import Watch

FINAL = {"finished", "cancelled", "expired", "dead"}
_PERMANENT = re.compile(
    r"(queue|requeued|waiting|due|spent|virtual|hungry|group):(short|long)|lane:(short|long):[^:]*"
    r"|(role|active|leases|idle_since|unit):[^:]+"
    r"|units|gateways|pulse|bytes|dead|events|policy|stealing|models"
)

_SLACK_S = 6.0
"""After a fault its consequences may go on for so long: alive_s and a second."""

_UNREAD_S = 2.0
"""What happened so shortly before Redis lost its memory may have been read by nobody."""

_REDIS = ("Redis",)
_GATEWAY = ("gateway killed", "gateway frozen")
_UNIT = ("unit", "dispatcher killed", "dispatcher frozen", "mid-stream", "sent,", "claimed, dis")
_LOSES_MEMORY = (
    "Redis killed", "Redis loading", "Redis restarted empty", "Redis away for a minute",
)  # fmt: skip

EXCUSES: dict[str, tuple[str, ...]] = {
    "503 redis_unavailable": (*_REDIS, "gateway frozen"),
    "503 stopping": _REDIS,
    # Longer than a gateway that stops may wait for what is open (drain_s, 30 s).
    "broken stopping": ("Redis away for a minute",),
    "503 no_units": ("Redis restarted empty",),
    "499 cancelled": ("gateway frozen",),
    "broken cancelled": ("gateway frozen",),
    "cut": ("gateway killed",),
    "broken unit_failed": (*_UNIT, *_LOSES_MEMORY),
    "broken redis_unavailable": (*_LOSES_MEMORY, "gateway frozen"),
    "502 unit_failed": _UNIT,
    "garbled": ("unit: malformed",),
}
"""How a request may end otherwise than well: only when one of these faults met it.

A restart in order, a lost reply, SCRIPT FLUSH and CLIENT KILL excuse nothing.
"""


def met(result: Result, faults: Iterable[Fault], before_s: float = 0.0) -> list[Fault]:
    """Faults whose time, with what follows from them, overlaps the request's.

    `before_s`: also those that came so soon after it.
    """
    return [
        fault
        for fault in faults
        if fault.begun_at <= result.ended_at + before_s
        and (fault.ended_at or time.time()) + _SLACK_S >= result.begun_at
    ]


def client_violations(results: list[Result], faults: list[Fault]) -> list[str]:
    found = []
    for result in results:
        where = f"request {result.plan.number} {result.job} on {result.unit or 'no unit'}"
        found += [f"{where}: {wrong} ({result.kind})" for wrong in result.wrong]
        if not _may_end_so(result, faults):
            kinds = sorted({fault.kind for fault in met(result, faults)})
            found.append(f"{where}: {result.kind or 'no end'} while {kinds}")
    return found


def _may_end_so(result: Result, faults: list[Fault]) -> bool:
    kind = result.kind
    if kind == "ok" or (kind == "left" and result.plan.leaves_after_s):
        return True
    if result.plan.bad:
        # What the gateway cannot say to a good request it cannot say to a bad one either.
        unasked = kind.removeprefix("bad input, ")
        asked_nobody = unasked in {"503 redis_unavailable", "503 no_units"}
        return kind == "refused" or (asked_nobody and _excused(unasked, result, faults))
    if result.plan.timeout_s and kind in {"504 deadline_exceeded", "broken deadline_exceeded"}:
        return True
    return _excused(kind, result, faults)


def _excused(kind: str, result: Result, faults: list[Fault]) -> bool:
    excuses = EXCUSES.get(kind, ())
    return any(fault.kind.startswith(excuses) for fault in met(result, faults) if excuses)


def job_violations(results: list[Result], faults: list[Fault], watch: Watch) -> list[str]:
    """One outcome per job, attempts in their bound, and what a client saw is what is on record."""
    found = []
    by_job = watch.by_job()
    lost = [fault for fault in faults if fault.kind.startswith(_LOSES_MEMORY)]
    seen = {result.job: result for result in results if result.job}
    for job, events in by_job.items():
        ends = [event for event in events if event["event"] in FINAL]
        result = seen.get(job)
        if len(ends) != 1 and not _was_lost(result, events, ends, lost):
            found.append(f"{job} has {len(ends)} outcomes: {events}")
        attempts = max((int(event.get("attempt", 0)) for event in events), default=0)
        spared = sum(
            event["event"] == "requeued" and event.get("reason") in _SPARES for event in events
        )
        if attempts - spared > 3:
            found.append(f"{job} has {attempts} attempts, {spared} of them spared: {events}")
        if result and result.kind == "502 unit_failed" and not _was_dead(ends):
            found.append(f"{job} is a 502, and not dead: {events}")
        if result and result.kind == "ok" and {e.get("outcome") for e in ends} - {"ok", None}:
            found.append(f"{job} was answered, on record is {ends}")
    return found


def _was_lost(
    result: Result | None,
    events: list[dict[str, str]],
    ends: list[dict[str, str]],
    lost: list[Fault],
) -> bool:
    """Whether Redis lost its memory of a job that had no outcome yet, or of the outcome it had.

    A job whose client has its answer, or is gone, is submitted again by nobody.
    """
    if result is None or met(result, lost, _UNREAD_S):
        return True
    last_s = max(int(event["at_ms"]) for event in events) / 1000
    return not ends and any(fault.begun_at >= last_s for fault in lost)


_SPARES = {"the dispatcher stopped", "claim reply lost"}


def _was_dead(ends: list[dict[str, str]]) -> bool:
    return any(end["event"] == "dead" or end.get("outcome") == "failed" for end in ends)


async def left_behind(client: Redis) -> list[str]:
    """What is in Redis when everything has ended and may not be."""
    found = []
    for name in CLASSES:
        length = await client.xlen(KEYS.queue(name))
        pending = (await client.xpending(KEYS.queue(name), GROUP))["pending"]
        if length or pending or await client.zcard(KEYS.requeued(name)):
            found.append(f"queue {name}: {length} entries, {pending} pending")
    if int(await client.get(KEYS.bytes) or 0):
        found.append(f"bytes: {await client.get(KEYS.bytes)!r}")
    async for key in client.scan_iter(f"{KEYS.prefix}:*", count=1000):
        name = key.decode().removeprefix(f"{KEYS.prefix}:")
        if not _PERMANENT.fullmatch(name) and await client.pttl(key) == -1:
            found.append(f"no TTL: {name}")
        if name.startswith("leases:") and await client.zcard(key):
            found.append(f"still leased: {name}")
        if name.startswith("active:") and any(map(int, await client.hvals(key))):
            found.append(f"still in flight: {name}")
        if name.startswith("job:") and await client.hget(key, "state") != b"finished":
            found.append(f"not finished: {name} {await client.hgetall(key)}")
    return found


def process_violations(fleet: Fleet) -> list[str]:
    found = [death for member in fleet.members for death in member.deaths]
    for name, log in fleet.logs():
        if name.startswith(("gateway", "dispatcher", "scaler")):
            found += [f"{name}: a traceback in its log"] * ("Traceback" in log)
    return found


def recoveries(faults: list[Fault], watch: Watch) -> dict[str, list[float]]:
    """Seconds until things were as before, by kind of fault.

    A killed dispatcher: until each job that it held was taken again, or had ended. A unit that is
    back: until it is given a job. Redis that is back: until a unit is given a job. A killed leader
    of the scalers: until another leads. A killed gateway: until each job that it held had ended.
    Not counted is the time in which Redis was away.
    """
    away = [fault for fault in faults if fault.kind.startswith(_REDIS)]
    found: dict[str, list[float]] = {}
    claims = [e for e in watch.events.values() if e["event"] in {"claimed", "stolen"}]
    by_job = watch.by_job()
    for fault in faults:
        times = list(fault.recovered_s)
        counts = FINAL if fault.kind.startswith("gateway") else None
        for job in fault.held:
            events = [e for e in by_job.get(job, ()) if counts is None or e["event"] in counts]
            after = [_there(fault.begun_at, int(e["at_ms"]) / 1000, away) for e in events]
            times += [min(later) for later in [[s for s in after if s > 0]] if later]
        if fault.back_at and not fault.held:
            mine = (
                (None,)
                if fault.target == "redis"
                else (fault.target.replace("dispatcher", "unit"),)
            )
            later = [
                _there(fault.back_at, int(e["at_ms"]) / 1000, away)
                for e in claims
                if mine == (None,) or e["unit"] in mine
            ]
            times += [min(after) for after in [[s for s in later if s >= 0]] if after]
        found.setdefault(fault.kind, []).extend(times)
    return found


def _there(since: float, until: float, away: list[Fault]) -> float:
    """Seconds between two times in which Redis was there; below 0 when they are in disorder."""
    gone = 0.0
    for fault in away:
        back_at = fault.back_at or fault.ended_at
        gone += max(0.0, min(until, back_at) - max(since, fault.begun_at))
    return until - since - (gone if until > since else 0.0)


def outcomes(results: list[Result]) -> Counter[str]:
    return Counter(result.kind for result in results)
