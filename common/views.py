"""Reads of a pool's state: for the scaler's decisions, the gateway's answers and people's eyes.

A view is several reads in few round trips, not one atomic step; what needs atomicity is a script.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from common.connection import Connection
from common.keys import CLASSES, JobClass, Keys
from common.looks import Looks
from common.models import Lease, PoolView, QueueView, UnitView
from common.settings import Settings
from common.steals import Stealing
from common.survey import Survey, surveyed
from common.tallies import Overdue, Tally

_KNOWN_UNIT_FIELDS = {
    *("url", "models", "limit", "limit_short", "limit_long", "draining", "health"),
    *("online_short", "online_long"),
    *("relay_run", "relay_number", "starved_claims", "pace"),
}
_PAGE = 500
_UNITS_PAGE = 64
_FORGET_AFTER_S = 3600.0
_LOOKERS = 8
"""So many dispatchers look after the silent ones in a round, whatever the size of the pool."""


def _texts(reply: Mapping[bytes, bytes]) -> dict[str, str]:
    # Of the policy's overrides people write the names as well.
    return {n.decode(errors="replace"): v.decode(errors="replace") for n, v in reply.items()}


class Views:
    """Typed reads of one pool. All raise `RedisUnavailable`.

    `now_ms` replaces Redis's clock in a view of the pool, for tests and simulations.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self.keys = Keys(settings.pool)
        self._connection = connection
        self._looks = Looks(connection.scripts, settings, now_ms)
        self._alive_ms = settings.alive_s * 1000

    async def tally(self) -> Tally:
        """What waits and how many units live, in time that grows with neither."""
        reply = await self._connection.run(self._looks.tally())
        _, now_ms, alive, body_bytes, dead, models, overrides, *classes = reply
        seen = dict(zip(CLASSES, classes, strict=True))
        return Tally(
            now_ms=now_ms,
            alive=alive,
            units={name: each[0] for name, each in seen.items()},
            models=tuple(sorted(model.decode() for model in models)),
            queues={name: _queue(now_ms, *each[1:]) for name, each in seen.items()},
            overrides=_texts(dict(_pairs(overrides))),
            body_bytes=max(0, int(body_bytes or 0)),
            dead=dead,
        )

    async def pool(self) -> PoolView:
        """The pool now, unit by unit: for people and pages, as it takes time for each unit.

        Queues that nobody made yet count as empty.
        """
        tally = await self.tally()
        heartbeats, stealing, pulse = await self._connection.commands(
            [
                ["ZRANGE", self.keys.units, 0, -1, "WITHSCORES"],
                ["HGETALL", self.keys.stealing],
                self._pulse(),
            ]
        )
        judged_ms = self._judged(pulse, tally.now_ms)
        beats = {name.decode(): int(float(score)) for name, score in _pairs(heartbeats)}
        return PoolView(
            now_ms=tally.now_ms,
            units=await self._units(beats, tally.now_ms, judged_ms),
            queues=tally.queues,
            overrides=tally.overrides,
            body_bytes=tally.body_bytes,
            dead=tally.dead,
            stealing=_stealing(stealing),
        )

    async def least(self, role: JobClass) -> str | None:
        """The unit with the fewest jobs of those of a role that live and take jobs."""
        status, *found = await self._connection.run(self._looks.least(role))
        return found[0].decode() if status == b"OK" else None

    async def unit_names(self) -> list[str]:
        """All units that are known, also silent ones, in order."""
        names = await self._connection.command("ZRANGE", self.keys.units, 0, -1)
        return sorted(name.decode() for name in names)

    async def survey(self, units: Sequence[str]) -> Survey:
        """What these units do now, in time that grows with what they hold."""
        next_tokens, found = 0, []
        # In pages, as of the units: and a script cannot answer more than a few thousand things.
        for at in range(0, max(1, len(units)), _UNITS_PAGE):
            call = self._looks.survey(units[at : at + _UNITS_PAGE])
            _, next_tokens, *more = await self._connection.run(call)
            found += more
        return Survey(next_tokens, tuple(map(surveyed, found)))

    async def overrides(self) -> dict[str, str]:
        """The live overrides of the policy."""
        return _texts(await self._connection.command("HGETALL", self.keys.policy))

    async def stealing(self) -> Stealing:
        """What steals have cost, and what they may be."""
        return _stealing(await self._connection.command("HGETALL", self.keys.stealing))

    async def depth(self, job_class: JobClass) -> int:
        """Jobs submitted and not claimed."""
        return (await self.tally()).queues[job_class].depth

    async def job(self, job: str) -> dict[str, str]:
        """All fields of a job but its body; empty when it is not known."""
        fields = await self._connection.command("HGETALL", self.keys.job(job))
        return _texts({name: value for name, value in fields.items() if name != b"body"})

    async def named(self, owner: str, name: str) -> str:
        """The job that an owner gave this name; empty when it is not known."""
        job = await self._connection.command("GET", self.keys.named(f"{owner}:{name}"))
        return job.decode() if job else ""

    async def states(self, jobs: list[str]) -> list[str | None]:
        """The state of each job; None when it is not known."""
        replies = await self._connection.commands(
            [["HGET", self.keys.job(job), "state"] for job in jobs]
        )
        return [None if state is None else state.decode() for state in replies]

    async def events(
        self, since: str = "-", upto: str = "+", count: int = 1000
    ) -> list[dict[str, str]]:
        """Events in order, each with its entry id under `id`."""
        entries = await self._connection.command(
            "XRANGE", self.keys.events, since, upto, "COUNT", count
        )
        return [{"id": name.decode()} | _texts(fields) for name, fields in entries]

    async def overdue(self, unit: str, drawn: float = 0.0) -> Overdue:
        """Who has not spoken in time: of its own unit all dispatchers ask, of the others some do.

        `drawn`, at random from 0 up to 1 and anew each time, says whether this one does.
        """
        call = self._looks.overdue(unit, _FORGET_AFTER_S, _LOOKERS, drawn)
        _, judged_ms, lapsed, *silent = await self._connection.run(call)
        units, forgotten, gateways = (tuple(name.decode() for name in names) for names in silent)
        leases = await self._leases([name.decode() for name in lapsed])
        return Overdue(judged_ms, tuple(leases), units, forgotten, gateways)

    async def jobs_of(self, gateway: str, job_class: JobClass) -> list[str]:
        """Unfinished jobs of a class that a gateway holds; reads the whole queue, in pages."""
        found, after = [], "-"
        while True:
            page = await self._connection.command(
                "XRANGE", self.keys.queue(job_class), after, "+", "COUNT", _PAGE
            )
            jobs = [fields[b"job"].decode() for _, fields in page]
            owners = await self._connection.commands(
                [["HGET", self.keys.job(job), "gateway"] for job in jobs]
            )
            pairs = zip(jobs, owners, strict=True)
            found += [job for job, owner in pairs if owner == gateway.encode()]
            if len(page) < _PAGE:
                return found
            after = f"({page[-1][0].decode()}"

    async def lapsed(self, unit: str, judged_ms: int) -> list[tuple[Lease, str]]:
        """Leases of a unit that ran out, each with its job's gateway."""
        names = await self._connection.command(
            "ZRANGEBYSCORE", self.keys.leases(unit), "-inf", judged_ms, "LIMIT", 0, 256
        )
        return await self._leases([name.decode() for name in names])

    async def held(self, unit: str) -> list[tuple[Lease, str]]:
        """All leases of a unit, each with its job's gateway."""
        names = await self._connection.command("ZRANGE", self.keys.leases(unit), 0, -1)
        return await self._leases([name.decode() for name in names])

    async def gone_gateways(self, gateways: Iterable[str]) -> list[str]:
        """Those of these gateways that do not live any more."""
        names = list(gateways)
        *beats, pulse, now = await self._connection.commands(
            [*(["ZSCORE", self.keys.gateways, n] for n in names), self._pulse(), ["TIME"]]
        )
        oldest_ms = self._judged(pulse, _ms(now)) - self._alive_ms
        pairs = zip(names, beats, strict=True)
        return [name for name, beat in pairs if beat is None or float(beat) < oldest_ms]

    def _pulse(self) -> list[Any]:
        return ["HMGET", self.keys.pulse, "beat_ms", "grace_ms", "spoke_ms"]

    def _judged(self, pulse: list[Any], now_ms: int) -> int:
        beat, grace, spoke = (int(float(field)) if field else 0 for field in pulse)
        judged_ms = beat if beat and now_ms - beat > self._alive_ms / 2 else now_ms
        return spoke if judged_ms < grace else judged_ms

    async def now_ms(self) -> int:
        """Redis's clock."""
        return _ms(await self._connection.time(self.keys.units))

    async def _leases(self, jobs: list[str]) -> list[tuple[Lease, str]]:
        replies = await self._connection.commands(
            [["HMGET", self.keys.job(job), "attempt", "class", "gateway"] for job in jobs]
        )
        return [
            (
                Lease(job, int(attempt or 0), cast("JobClass", (job_class or b"short").decode())),
                (gateway or b"").decode(),
            )
            for job, (attempt, job_class, gateway) in zip(jobs, replies, strict=True)
        ]

    async def _units(
        self, beats: dict[str, int], now_ms: int, judged_ms: int
    ) -> tuple[UnitView, ...]:
        names, units = sorted(beats), []
        # In pages: a look at thousands holds up neither Redis nor what else runs here.
        for at in range(0, len(names), _UNITS_PAGE):
            page = names[at : at + _UNITS_PAGE]
            roles, idle, *more = await self._connection.commands(
                [
                    ["MGET", *map(self.keys.role, page)],
                    ["MGET", *map(self.keys.idle_since, page)],
                    *(["HMGET", self.keys.active(name), "short", "long"] for name in page),
                    *(["HGETALL", self.keys.unit(name)] for name in page),
                ]
            )
            each = zip(page, roles, idle, more[: len(page)], more[len(page) :], strict=True)
            units += [
                self._unit(name, now_ms, judged_ms, beats[name], replies) for name, *replies in each
            ]
        return tuple(units)

    def _unit(
        self, name: str, now_ms: int, judged_ms: int, beat_ms: int, replies: list[Any]
    ) -> UnitView:
        role, idle_since, (short, long), fields = replies
        known = _texts(fields)
        return UnitView(
            name=name,
            role=cast("JobClass", role.decode() if role else "short"),
            alive=judged_ms - beat_ms <= self._alive_ms,
            draining=known.get("draining") == "1",
            short=int(short or 0),
            long=int(long or 0),
            idle_s=max(0.0, (now_ms - int(idle_since)) / 1000) if idle_since else None,
            heartbeat_s=max(0.0, (now_ms - beat_ms) / 1000) if beat_ms else None,
            url=known.get("url", ""),
            models=tuple(filter(None, known.get("models", "").split("\n"))),
            limit=int(known.get("limit") or 0),
            limit_short=int(known.get("limit_short") or 0),
            limit_long=int(known.get("limit_long") or 0),
            online_short=int(known.get("online_short") or 0),
            online_long=int(known.get("online_long") or 0),
            health=known.get("health", ""),
            pace=float(known.get("pace") or 1),
            reported={key: known[key] for key in known.keys() - _KNOWN_UNIT_FIELDS},
        )


def _queue(
    now_ms: int,
    length: int,
    pending: int,
    returned: int,
    added: int,
    oldest_ms: int,
    virtual: bytes | None,
) -> QueueView:
    if pending < 0:
        return QueueView(depth=length, oldest_s=None, taken=0)
    return QueueView(
        depth=max(0, length - pending + returned),
        oldest_s=max(0.0, (now_ms - oldest_ms) / 1000) if oldest_ms >= 0 else None,
        # The group's own count (entries-read) is not known while an entry is missing.
        taken=max(0, added - (length - pending)),
        virtual=float(virtual) if virtual else None,
    )


def _stealing(reply: Mapping[bytes, bytes]) -> Stealing:
    fields = {name: float(value) for name, value in _texts(reply).items()}
    idle_ms, tokens = fields.get("idle_ms"), fields.get("tokens")
    return Stealing(
        steals=int(fields.get("steals", 0)),
        regret_s=fields.get("regret_ms", 0) / 1000,
        prefill_s=fields.get("prefill_ms", 0) / 1000,
        idle_s=None if idle_ms is None else idle_ms / 1000,
        tokens=None if tokens is None else int(tokens),
    )


def _ms(time: list[Any]) -> int:
    return int(time[0]) * 1000 + int(time[1]) // 1000


def _pairs(reply: list[Any]) -> list[tuple[bytes, bytes]]:
    return list(zip(reply[::2], reply[1::2], strict=True))
