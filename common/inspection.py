"""Reads of single jobs for people's eyes: held, waiting, dead and ended ones, never their bodies.

Each read is bounded by what its caller asks for, and takes one or two round trips.
"""

from collections.abc import Sequence
from typing import Any, cast

from common.connection import Connection
from common.keys import JobClass, Keys, entry_of
from common.models import DeadView, HeldView, JobView
from common.settings import Settings

_FIELDS = (
    *("class", "state", "outcome", "reason", "unit", "why", "attempt", "tokens", "stream"),
    *("status", "submitted_ms", "claimed_ms", "first_byte_ms", "finished_ms"),
    *("prompt_tokens", "completion_tokens"),
)


class Inspection:
    """Typed reads of one pool's jobs. All raise `RedisUnavailable`."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.keys = Keys(settings.pool)
        self._connection = connection

    async def held(self, units: Sequence[str], most: int) -> dict[str, HeldView]:
        """What each unit holds; of each at most so many ids, those whose leases end first."""
        commands: list[list[Any]] = []
        for unit in units:
            leases = self.keys.leases(unit)
            commands += [["ZCARD", leases], ["ZRANGE", leases, 0, most - 1]]
        replies = await self._connection.commands(commands)
        return {
            unit: HeldView(int(replies[2 * i]), tuple(job.decode() for job in replies[2 * i + 1]))
            for i, unit in enumerate(units)
        }

    async def jobs(self, ids: Sequence[str]) -> dict[str, JobView]:
        """Those of these jobs that are known."""
        replies = await self._connection.commands(
            [["HMGET", self.keys.job(job), *_FIELDS] for job in ids]
        )
        pairs = zip(ids, replies, strict=True)
        return {job: _job(job, fields) for job, fields in pairs if fields[0] is not None}

    async def waiting(self, job_class: JobClass, most: int) -> list[str]:
        """The jobs that wait: those that were given back, then the others by age.

        Which of the others is claimed next also depends on whose turn it is.
        """
        queue = self.keys.queue(job_class)
        returned, places = await self._connection.commands(
            [
                ["ZRANGE", self.keys.requeued(job_class), 0, most - 1],
                ["ZRANGE", self.keys.waiting(job_class), 0, most - 1],
            ]
        )
        entries = [entry_of(place.decode()) for place in places]
        found = await self._connection.commands(
            [["XRANGE", queue, entry, entry] for entry in entries]
        )
        jobs = [job.decode() for job in returned]
        jobs += [fields[b"job"].decode() for entry in found for _, fields in entry]
        return jobs[:most]

    async def dead(self, most: int) -> list[DeadView]:
        """The jobs that were dead-lettered last, newest first."""
        entries = await self._connection.command(
            "XREVRANGE", self.keys.dead, "+", "-", "COUNT", most
        )
        return [_dead(entry.decode(), fields) for entry, fields in entries]

    async def scaler(self) -> tuple[str | None, float]:
        """Who leads, and for how many seconds there will be no flip."""
        leader, left_ms = await self._connection.commands(
            [["GET", self.keys.leader], ["PTTL", self.keys.cooldown]]
        )
        return leader.decode() if leader else None, max(0, left_ms) / 1000


def _job(job: str, values: Sequence[bytes | None]) -> JobView:
    fields = {
        name: value.decode(errors="replace")
        for name, value in zip(_FIELDS, values, strict=True)
        if value is not None
    }

    def moment(name: str) -> int | None:
        return int(fields[name]) if fields.get(name) else None

    return JobView(
        id=job,
        job_class=cast("JobClass", fields["class"]),
        state=fields.get("state", ""),
        outcome=fields.get("outcome", ""),
        reason=fields.get("reason", ""),
        unit=fields.get("unit", ""),
        why=fields.get("why", ""),
        attempt=int(fields.get("attempt") or 0),
        tokens=int(fields.get("tokens") or 0),
        stream=fields.get("stream") == "1",
        status=int(fields.get("status") or 0),
        submitted_ms=int(fields.get("submitted_ms") or 0),
        claimed_ms=moment("claimed_ms"),
        first_byte_ms=moment("first_byte_ms"),
        finished_ms=moment("finished_ms"),
        prompt_tokens=int(fields.get("prompt_tokens") or 0),
        completion_tokens=int(fields.get("completion_tokens") or 0),
    )


def _dead(entry: str, fields: dict[bytes, bytes]) -> DeadView:
    texts = {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
    return DeadView(
        entry=entry,
        job=texts["job"],
        job_class=cast("JobClass", texts["class"]),
        unit=texts.get("unit", ""),
        attempt=int(texts.get("attempt") or 0),
        reason=texts.get("reason", ""),
        at_ms=int(texts.get("at_ms") or 0),
    )
