"""What stands in Redis, read key by key, in the shapes in which the model has it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.keys import CLASSES, GROUP, JobClass, Keys, place_of
from tests.lua.conftest import PERMANENT
from tests.lua.model import Model
from tests.lua.model_order import Order

Books = dict[str, Any]


def words(reply: Any) -> Any:
    """A reply with text in place of bytes."""
    if isinstance(reply, Mapping):
        return {words(name): words(value) for name, value in reply.items()}
    if isinstance(reply, list | tuple):
        return [words(each) for each in reply]
    return reply.decode() if isinstance(reply, bytes) else reply


def _times(pairs: Sequence[tuple[str, float]]) -> dict[str, int]:
    return {name: int(ms) for name, ms in pairs}


def _said(name: str, content: str) -> str:
    """A part of an answer; of an end only the outcome."""
    return str(json.loads(content)["outcome"]) if ":end" in name else content


class Reader:
    """Reads the books of one pool through a synchronous client."""

    def __init__(self, client: Any, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._heard = "-"

    def books(self, jobs: Iterable[str], units: Iterable[str], gateways: Iterable[str]) -> Books:
        keys = self._keys
        return {
            "jobs": {name: self._job(name) for name in jobs},
            "units": {name: self._unit(name) for name in units},
            "queues": {name: self._queue(name) for name in CLASSES},
            "bytes": int(self._client.get(keys.bytes) or 0),
            "gateways": _times(words(self._client.zrange(keys.gateways, 0, -1, withscores=True))),
            "answers": {name: self._answers(name) for name in gateways},
            "dead": [words(each)["job"] for _, each in self._client.xrange(keys.dead)],
            "steals": _times(words(self._client.zrange(keys.steals, 0, -1, withscores=True))),
            "stealing": {
                name: int(value)
                for name, value in words(self._client.hgetall(keys.stealing)).items()
            },
        }

    def hungry(self) -> dict[str, dict[str, float]]:
        """The units of each role that wait for work, with their score."""
        found = {
            name: self._client.zrange(self._keys.hungry(name), 0, -1, withscores=True)
            for name in CLASSES
        }
        return {name: dict(words(pairs)) for name, pairs in found.items()}

    def woken(self) -> dict[JobClass, set[str]]:
        """The units of each role that were woken and have not claimed since."""
        names = [self._client.zrange(self._keys.woken(name), 0, -1) for name in CLASSES]
        return dict(zip(CLASSES, map(set, words(names)), strict=True))

    def wakes(self, units: Iterable[str]) -> int:
        """How many wake-ups to claim all these units have not looked at."""
        messages = [self._client.lrange(self._keys.wake(name), 0, -1) for name in units]
        return sum(each.count(b"claim") for each in messages)

    def events(self) -> list[tuple[str, str]]:
        """The events since the last call: what, and of which job or unit."""
        entries = words(self._client.xrange(self._keys.events, self._heard, "+"))
        if entries:
            self._heard = f"({entries[-1][0]}"
        return [(said["event"], said.get("job") or said["unit"]) for _, said in entries]

    def leaked(self) -> list[str]:
        """Keys that have no TTL and are not permanent by decision."""
        prefix = f"{self._keys.prefix}:"
        names = words(list(self._client.scan_iter(match=f"{prefix}*", count=500)))
        doubtful = [n for n in names if not PERMANENT.fullmatch(n.removeprefix(prefix))]
        return [name for name in doubtful if self._client.pttl(name) == -1]

    def _job(self, name: str) -> dict[str, Any]:
        fields = ("state", "attempt", "unit", "outcome")
        state, attempt, unit, outcome = words(self._client.hmget(self._keys.job(name), fields))
        return {
            "state": state,
            "attempt": int(attempt),
            "unit": unit if state == "running" else None,
            "outcome": outcome,
            "has_body": bool(self._client.hexists(self._keys.job(name), "body")),
            **self._steals(name),
        }

    def _steals(self, name: str) -> dict[str, int]:
        fields = ("revoked", "regret_ms")
        found = self._client.hmget(self._keys.job(name), fields)
        return {field: int(value or 0) for field, value in zip(fields, found, strict=True)}

    def _unit(self, name: str) -> dict[str, Any]:
        keys = self._keys
        active = [int(count or 0) for count in self._client.hmget(keys.active(name), CLASSES)]
        idle = self._client.get(keys.idle_since(name))
        leases = self._client.zrange(keys.leases(name), 0, -1, withscores=True)
        beat = self._client.zscore(keys.units, name)
        return {
            "active": dict(zip(CLASSES, active, strict=True)),
            "leases": _times(words(leases)),
            "idle_ms": None if idle is None else int(idle),
            "role": words(self._client.get(keys.role(name))),
            "beat_ms": None if beat is None else int(beat),
        }

    def _queue(self, job_class: Any) -> dict[str, Any]:
        key = self._keys.queue(job_class)
        pending = self._client.xpending_range(key, GROUP, "-", "+", 1000)
        entries = words(self._client.xrange(key))
        jobs = {entry: said["job"] for entry, said in entries}
        holders = {words(p["message_id"]): words(p["consumer"]) for p in pending}
        again = self._client.zrange(self._keys.requeued(job_class), 0, -1, withscores=True)
        return {
            "entries": sorted(jobs.values()),
            "holders": {jobs.get(entry, entry): holder for entry, holder in holders.items()},
            "fresh": [said["job"] for entry, said in entries if entry not in holders],
            "again": _times(words(again)),
            "depth": len(entries) - len(pending) + len(again),
            "order": self._order(job_class, jobs),
        }

    def _order(self, job_class: Any, jobs: Mapping[str, str]) -> dict[str, Any]:
        keys, job_at = self._keys, {place_of(entry): job for entry, job in jobs.items()}
        prefix = keys.lane(f"{job_class}:")
        names = words(list(self._client.scan_iter(match=f"{prefix}*", count=500)))
        owners = [name.removeprefix(prefix) for name in names]
        lanes = {owner: words(self._client.zrange(f"{prefix}{owner}", 0, -1)) for owner in owners}
        waiting, turns, spent = (
            _times(words(self._client.zrange(key(job_class), 0, -1, withscores=True)))
            for key in (keys.waiting, keys.due, keys.spent)
        )
        return {
            "waiting": {job_at[place.split(":")[0]]: ms for place, ms in waiting.items()},
            "lanes": {
                owner: [job_at[place.split(":")[0]] for place in places]
                for owner, places in lanes.items()
            },
            "due": turns,
            "spent": spent,
            "time": int(self._client.get(keys.virtual(job_class)) or 0),
        }

    def _answers(self, name: str) -> list[dict[str, str]] | None:
        key = self._keys.reply(name)
        if not self._client.exists(key):
            return None
        batches = words(self._client.xrange(key))
        return [{part: _said(part, text) for part, text in said.items()} for _, said in batches]


def expected(model: Model) -> Books:
    """The books as the model would keep them."""
    return {
        "jobs": {name: _expected_job(model, name) for name in model.jobs},
        "units": {name: _expected_unit(model, name) for name in model.units},
        "queues": {name: _expected_queue(model, name) for name in CLASSES},
        "bytes": model.held_bytes(),
        "gateways": {name: gateway.beat_ms for name, gateway in model.gateways.items()},
        "answers": {name: gateway.answers for name, gateway in model.gateways.items()},
        "dead": [job for event, job in model.notes if event == "dead"],
        "steals": model.steals,
        "stealing": dict(model.stealing),
    }


def _expected_job(model: Model, name: str) -> dict[str, Any]:
    job = model.jobs[name]
    return {
        "state": job.state,
        "attempt": job.attempt,
        "unit": job.unit if job.state == "running" else None,
        "outcome": job.outcome or None,
        "has_body": model.has_body(name),
        "revoked": job.revoked,
        "regret_ms": job.regret_ms,
    }


def _expected_unit(model: Model, name: str) -> dict[str, Any]:
    unit = model.units[name]
    held = model.in_flight(name)
    return {
        "active": {name: held[name] for name in CLASSES},
        "leases": unit.leases,
        "idle_ms": unit.idle_ms,
        "role": unit.role,
        "beat_ms": unit.beat_ms,
    }


def _expected_queue(model: Model, job_class: Any) -> dict[str, Any]:
    unfinished = [
        job for job in model.jobs.values() if job.job_class == job_class and job.state != "finished"
    ]
    again = {name: model.jobs[name].submitted_ms for name in model.again[job_class]}
    running = {job.id: job.unit for job in unfinished if job.state == "running"}
    return {
        "entries": sorted(job.id for job in unfinished),
        "holders": running | dict.fromkeys(again, "requeued"),
        "fresh": model.fresh[job_class],
        "again": again,
        "depth": len(model.waiting(job_class)),
        "order": _expected_order(model.order[job_class]),
    }


def _expected_order(order: Order) -> dict[str, Any]:
    return {
        "waiting": {place.job: place.submitted_ms for place in order.places},
        "lanes": {owner: [place.job for place in order.lane(owner)] for owner in order.due},
        "due": order.due,
        "spent": order.spent,
        "time": order.time,
    }
