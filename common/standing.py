"""Where waiting jobs stand in the order of their class: reads for estimates of their start."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from common.connection import Connection
from common.keys import COST, JobClass, Keys, place_of
from common.models import Standing
from common.settings import Settings

_OWNERS_READ = 200
_FIELDS = ("state", "class", "owner", "entry", "attempt", "priority", "weight", "submitted_ms")


class Standings:
    """Typed reads of one pool. All raise `RedisUnavailable`.

    `weight` is what each owner's share is; `now_ms` replaces Redis's clock, for tests and
    simulations.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        weight: Callable[[str], int] = lambda _: 1,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.keys = Keys(settings.pool)
        self._connection = connection
        self._weight = weight
        self._now_ms = now_ms

    async def of(self, job: str) -> Standing | None:
        """None when it is not known, or does not wait."""
        values = await self._connection.command("HMGET", self.keys.job(job), *_FIELDS)
        pairs = zip(_FIELDS, values, strict=True)
        return await self.by_fields(job, {k: v.decode() for k, v in pairs if v is not None})

    async def by_fields(self, job: str, fields: Mapping[str, str]) -> Standing | None:
        """The same, for whoever has read the job's record already."""
        if fields.get("state") != "queued":
            return None
        job_class = cast("JobClass", fields.get("class", "short"))
        if fields.get("attempt", "0") != "0":
            return await self._given_back(job_class, job, fields)
        return await self._in_lane(job_class, fields)

    async def _given_back(
        self, job_class: JobClass, job: str, fields: Mapping[str, str]
    ) -> Standing | None:
        rank, now = await self._connection.commands(
            [["ZRANK", self.keys.requeued(job_class), job], ["TIME"]]
        )
        return None if rank is None else Standing(self._ms(now), _submitted(fields), int(rank))

    async def _in_lane(self, job_class: JobClass, fields: Mapping[str, str]) -> Standing | None:
        place = place_of(fields.get("entry", ""), fields.get("priority", "0"))
        owner = fields.get("owner", "")
        lane, waiting = self.keys.lane(f"{job_class}:{owner}"), self.keys.waiting(job_class)
        (
            returned,
            ahead,
            counts_as,
            size,
            older,
            all_,
            turns,
            virtual,
            now,
        ) = await self._connection.commands(
            [
                ["ZCARD", self.keys.requeued(job_class)],
                ["ZRANK", lane, place],
                ["ZSCORE", lane, place],
                ["ZCARD", lane],
                ["ZRANK", waiting, place],
                ["ZCARD", waiting],
                ["ZRANGE", self.keys.due(job_class), 0, _OWNERS_READ - 1, "WITHSCORES"],
                ["GET", self.keys.virtual(job_class)],
                ["TIME"],
            ]
        )
        order = {name.decode(): float(turn) for name, turn in _pairs(turns)}
        if ahead is None or counts_as is None or owner not in order:
            return None
        step = COST / int(fields.get("weight", "1"))
        mine = order.pop(owner) + ahead * step
        now_ms = self._ms(now)
        return Standing(
            now_ms=now_ms,
            submitted_ms=_submitted(fields),
            position=returned + ahead + await self._others_before(job_class, mine, order),
            lane=int(ahead),
            distance=max(0.0, mine - float(virtual or 0)),
            step=step,
            until_s=(float(counts_as) - now_ms) / 1000,
            older=int(older or 0),
            share=int(size) / max(1, int(all_)),
        )

    async def _others_before(
        self, job_class: JobClass, mine: float, order: Mapping[str, float]
    ) -> int:
        """Jobs of other owners whose turn comes before this virtual time."""
        others = {name: turn for name, turn in order.items() if turn <= mine}
        if not others:
            return 0
        sizes = await self._connection.commands(
            [["ZCARD", self.keys.lane(f"{job_class}:{name}")] for name in others]
        )
        return sum(
            min(size, int((mine - turn) // (COST / self._weight(name))) + 1)
            for (name, turn), size in zip(others.items(), sizes, strict=True)
        )

    def _ms(self, time: list[Any]) -> int:
        return self._now_ms() if self._now_ms else int(time[0]) * 1000 + int(time[1]) // 1000


def _submitted(fields: Mapping[str, str]) -> int:
    return int(fields.get("submitted_ms") or 0)


def _pairs(reply: list[Any]) -> list[tuple[bytes, bytes]]:
    return list(zip(reply[::2], reply[1::2], strict=True))
