"""Every change of a pool's state, as a typed method: one method calls one script.

All methods raise `RedisUnavailable` when Redis is away. Then a change may or may not have happened;
every method but `claim` and an unnumbered `turn` may simply be called again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from common.calling import ms
from common.calls import Calls
from common.connection import Connection
from common.keys import CLASSES, JobClass
from common.looks import Looks
from common.models import (
    UNBOUNDED,
    Bounds,
    Budget,
    Claim,
    ClaimedJob,
    Finish,
    Lease,
    NewJob,
    Outcome,
    Part,
    Prefilling,
    Relay,
    Relayed,
    Submitted,
    Turn,
    Wake,
    Why,
)
from common.policy import Policy
from common.scripts import Arg, Call
from common.settings import Settings
from common.steals import Weighed

log = logging.getLogger(__name__)

_ORDER_PAGE = 500
_FULL = -2
LATE_S = 0.5
"""A job that has waited for longer is not about to be claimed by whom its submit woke."""


def _text(reply: Any) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)


class Store:
    """The state of one pool. `now_ms` replaces Redis's clock, for tests and simulations."""

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._calls = Calls(connection.scripts, settings, now_ms)
        self._looks = Looks(connection.scripts, settings, now_ms)
        self.keys = self._calls.keys
        self._connection = connection
        self._settings = settings

    # Units

    async def register(self, unit: str, fields: Mapping[str, Arg]) -> JobClass:
        """Beat a unit's heart; answers its role. Makes its keys and the groups when missing."""
        _, role, groups_made = await self._connection.run(self._calls.register(unit, fields))
        if groups_made:
            log.warning("made consumer groups pool=%s groups=%s", self.keys.pool, groups_made)
        return cast("JobClass", _text(role))

    async def leave(self, unit: str) -> int:
        """Take a unit off the list; answers how many jobs it still holds."""
        status, *held = await self._connection.run(self._calls.leave(unit))
        return int(held[0]) if status == b"HELD" else 0

    async def set_draining(self, unit: str, draining: bool) -> None:  # noqa: FBT001  # two states of one field
        """Let a unit claim nothing more, or again; it holds until it is changed, come what may."""
        await self._connection.run(self._calls.drain(unit, draining=draining))
        if draining:
            # A claim now takes the unit off the lists of those that wait, and nothing else.
            await self.claim(unit)

    # Jobs, from the gateway's side

    async def submit(
        self, job: NewJob, policy: Policy | None = None, *, again: bool = False
    ) -> Submitted:
        """Queue a job once and wake one unit that can take it.

        `again`: Redis had it and lost it; its owner's limits do not count it a second time.
        """
        call = self._calls.submit(job, policy or self._settings, again=again)
        status, *more = await self._connection.run(call)
        if status == b"NOGROUP":
            await self._make_groups()
            return await self.submit(job, policy, again=again)
        if status == b"NOGATEWAY":
            # Redis has lost its memory: the gateway lives, as it is the one that submits.
            await self.beat(job.gateway)
            return await self.submit(job, policy, again=again)
        return _submitted(_text(status), more)

    async def name(self, job: NewJob) -> None:
        """Let a job be found by its client's name for it; of several the last is found."""
        key = self.keys.named(f"{job.owner}:{job.name}")
        ttl_ms = ms(job.timeout_s + self._settings.job_ttl_s)
        await self._connection.command("SET", key, job.id, "PX", ttl_ms)

    async def cancel(
        self,
        job: str,
        job_class: JobClass,
        gateway: str,
        reason: str,
        outcome: Outcome = "cancelled",
    ) -> str:
        """End a waiting job, or ask its unit to abort it: OK, ASKED, FINISHED or UNKNOWN."""
        call = self._calls.cancel(job, job_class, gateway, reason, outcome)
        return _text((await self._connection.run(call))[0])

    async def beat(self, gateway: str) -> None:
        """Beat a gateway's heart; makes its reply stream when missing."""
        await self._connection.run(self._calls.beat(gateway))

    async def forget(self, gateway: str, *, dead_only: bool = False) -> bool:
        """Remove a gateway that has left, with its answers; not when dead_only and it lives."""
        status = await self._connection.run(self._calls.forget(gateway, dead_only=dead_only))
        return bool(status[0] == b"OK")

    async def read_replies(
        self, gateway: str, after: str, wait_s: float
    ) -> tuple[str, list[list[Part]]]:
        """Wait for batches after an entry id; answers the last id and the batches in order."""
        reply = self.keys.reply(gateway)
        read = await self._connection.block(
            "XREAD", "COUNT", 256, "BLOCK", ms(wait_s), "STREAMS", reply, after
        )
        if not read:
            return after, []
        entries = read[0][1]
        return _text(entries[-1][0]), [_parts(fields) for _, fields in entries]

    async def trim_replies(self, gateway: str, upto: str) -> None:
        """Forget the batches before an entry id."""
        await self._connection.command("XTRIM", self.keys.reply(gateway), "MINID", upto)

    # Jobs, from the dispatcher's side

    async def claim(self, unit: str, policy: Policy | None = None) -> Claim:
        """Take up to the unit's free slots."""
        turn = await self.turn(unit, claim=True, policy=policy)
        if turn.claim is None:
            raise RuntimeError("a turn with a claim answers it")
        return turn.claim

    async def turn(
        self,
        unit: str,
        *,
        relays: Sequence[Relay] = (),
        finishes: Sequence[Finish] = (),
        claim: bool = False,
        most: int | None = None,
        bounds: Bounds = UNBOUNDED,
        rest: bool = False,
        policy: Policy | None = None,
    ) -> Turn:
        """Relay, then finish, then claim: all that a dispatcher has to say, in one round trip.

        `most` bounds what the claim takes, and `bounds` what of each class; None is as many as fit.
        `rest`, without a claim: the last finish lets the unit be woken, or says that something
        waits that a claim with these bounds might take.
        """
        policy = policy or self._settings
        calls = [self._calls.relay(unit, relay) for relay in relays]
        last = len(finishes) - 1
        calls += [
            self._calls.finish(unit, finish, policy, bounds, rest=rest and at == last)
            for at, finish in enumerate(finishes)
        ]
        if claim:
            calls.append(self._calls.claim(unit, policy, most, bounds))
        # A finish ends what its job's relay brought, and a relay counts only behind the one before
        # it, which has a lower number; a claim may as well come before either.
        relied_on = len(relays) if finishes else max(0, len(relays) - 1)
        replies = await self._connection.run_many(calls, relied_on)
        relayed = _relayed(replies[: len(relays)])
        ended = replies[len(relays) :][: len(finishes)]
        return Turn(
            relayed,
            tuple(_text(reply[0]) for reply in ended),
            await self._claimed(calls[-1], replies[-1]) if claim else None,
            waiting=rest and bool(ended) and ended[-1][1] == b"CLAIM",
        )

    def post(
        self,
        unit: str,
        relays: Sequence[Relay],
        done: Callable[[tuple[Relayed, ...] | None], None],
    ) -> bool:
        """Relay without a task that waits; answers whether that is possible now.

        `done` hears how it ended. None: perhaps it did not, and the same relays, which are
        numbered, are to go with a turn.
        """

        def over(replies: list[list[Any]] | None) -> None:
            done(None if replies is None else _relayed(replies))

        return self._connection.post([self._calls.relay(unit, relay) for relay in relays], over)

    async def renew(self, unit: str, held: Sequence[tuple[str, int]]) -> tuple[str, ...]:
        """Extend the leases of (job, attempt) pairs; answers the jobs that are superseded."""
        _, *superseded = await self._connection.run(self._calls.renew(unit, held))
        return tuple(_text(job) for job in superseded)

    async def requeue(
        self,
        unit: str,
        lease: Lease,
        gateway: str,
        reason: str,
        *,
        spared: bool = False,
        revoked: bool = False,
        lapsed_only: bool = False,
    ) -> str:
        """Give a job back: OK, DEAD, CANCELLED, SUPERSEDED or (lapsed_only) HELD."""
        call = self._calls.requeue(
            *(unit, lease, gateway, reason),
            spared=spared,
            revoked=revoked,
            lapsed_only=lapsed_only,
        )
        return _text((await self._connection.run(call))[0])

    async def may_claim(
        self,
        unit: str,
        job_class: JobClass | None = None,
        late_s: float = LATE_S,
        bounds: Bounds = UNBOUNDED,
        policy: Policy | None = None,
    ) -> bool:
        """Whether a claim may be of use: a job waits, or a wake-up would not reach the unit.

        Jobs count that have waited for more than `late_s`, and that a claim with these bounds might
        take; `job_class`: and are of this class.
        """
        call = self._looks.look(unit, late_s, job_class, policy or self._settings, bounds)
        return bool((await self._connection.run(call))[0] == b"CLAIM")

    async def read_wakes(self, unit: str, wait_s: float) -> list[Wake]:
        """Wait for messages to a unit's dispatcher; empty after wait_s."""
        key = self.keys.wake(unit)
        read = await self._connection.block("BLMPOP", wait_s, 1, key, "LEFT", "COUNT", 1000)
        return [_wake(_text(message)) for message in read[1]] if read else []

    # Roles

    async def lead(self, scaler: str, ttl_s: float) -> str | None:
        """Take or keep the leadership; answers None, or who leads instead."""
        status, *holder = await self._connection.run(self._calls.lead(scaler, ttl_s))
        return None if status == b"LEADER" else _text(holder[0])

    async def resign(self, scaler: str) -> None:
        """Give up the leadership, if this scaler has it."""
        if await self.lead(scaler, 0.001) is None:
            log.info("resigned scaler=%s", scaler)

    async def flip(
        self, scaler: str, unit: str, to: JobClass, reason: str, policy: Policy | None = None
    ) -> str:
        """Change a unit's role; answers OK or which guard refused."""
        call = self._calls.flip(scaler, unit, to, reason, policy or self._settings)
        return _text((await self._connection.run(call))[0])

    async def revoke(self, scaler: str, found: Prefilling, most: int, reason: str) -> str:
        """Ask a unit to hand a long job back, at most so many times; answers OK or why not."""
        return _text(
            (await self._connection.run(self._calls.revoke(scaler, found, most, reason)))[0]
        )

    # Steals

    async def weigh(self, unit: str, steal: Weighed, *, over: bool) -> float | None:
        """Charge a stolen job with what short jobs lost to it since the last look.

        Answers what that is so far, in seconds; None when the unit does not run it any more.
        """
        status, *regret_ms = await self._connection.run(self._calls.weigh(unit, steal, over=over))
        return int(regret_ms[0]) / 1000 if status == b"OK" else None

    async def adjust(self, scaler: str, idle_s: float, tokens: int) -> bool:
        """Say what steals may be; answers whether this scaler leads."""
        reply = await self._connection.run(self._calls.adjust(scaler, idle_s, tokens))
        return bool(reply[0] == b"OK")

    async def _claimed(self, call: Call, reply: list[Any]) -> Claim:
        status, *more = reply
        if status == b"DRAINING":
            return Claim(role="short", draining=True)
        if status in {b"NOGROUP", b"UNORDERED"}:
            await (self._make_groups() if status == b"NOGROUP" else self._order())
            return await self._claimed(call, await self._connection.run(call))
        role, wait_ms, *jobs = more
        return Claim(
            role=cast("JobClass", _text(role)),
            jobs=tuple(_claimed_job(job) for job in jobs),
            wait_s=None if int(wait_ms) < 0 else int(wait_ms) / 1000,
            full=int(wait_ms) == _FULL,
        )

    async def _order(self) -> None:
        """Give a place to every entry that has none."""
        for job_class in CLASSES:
            call, ordered, read = self._calls.order(job_class, _ORDER_PAGE), 0, _ORDER_PAGE
            while read == _ORDER_PAGE:
                status, *more = await self._connection.run(call)
                read = int(more[0]) if status == b"OK" else 0
                ordered += read
            log.warning("ordered pool=%s class=%s read=%d", self.keys.pool, job_class, ordered)

    async def _make_groups(self) -> None:
        log.warning("making missing consumer groups pool=%s", self.keys.pool)
        for queue in self._calls.queue_keys().values():
            await self._connection.make_group(queue)


def _claimed_job(reply: list[Any]) -> ClaimedJob:
    job, job_class, attempt, why, submitted, now, deadline, gateway, route, stream, body, *more = (
        reply
    )
    queued, traceparent, tokens = more
    return ClaimedJob(
        id=_text(job),
        job_class=cast("JobClass", _text(job_class)),
        attempt=int(attempt),
        why=cast("Why", _text(why)),
        submitted_ms=int(submitted),
        claimed_ms=int(now),
        deadline_ms=int(deadline),
        gateway=_text(gateway),
        route=_text(route),
        stream=stream == b"1",
        body=body,
        queued_ms=int(queued),
        traceparent=_text(traceparent),
        tokens=int(tokens),
    )


def _relayed(replies: Sequence[list[Any]]) -> tuple[Relayed, ...]:
    return tuple(
        Relayed(reply[0] == b"GONE", tuple(_text(job) for job in reply[1:])) for reply in replies
    )


def _submitted(status: str, more: Sequence[Any]) -> Submitted:
    requests_left, requests_reset_ms, tokens_left, tokens_reset_ms = map(int, more[-4:])
    budget = Budget(requests_left, requests_reset_ms / 1000, tokens_left, tokens_reset_ms / 1000)
    said: Any = _text(more[0])
    if status == "EXISTS":
        return Submitted("exists", state=said, budget=budget)
    if status == "FULL":
        return Submitted("full", depth=int(more[1]), full=said, budget=budget)
    if status == "LIMITED":
        wait_s = None if int(more[1]) < 0 else int(more[1]) / 1000
        return Submitted("limited", limited=said, wait_s=wait_s, budget=budget)
    return Submitted("accepted", budget=budget)


def _parts(fields: Sequence[bytes]) -> list[Part]:
    """The parts of an entry, whose fields come as names and values in turn."""
    parts = []
    for name, content in zip(fields[::2], fields[1::2], strict=True):
        job, *tail = name.decode().split(":")
        if tail:
            attempt, kind, *offset = tail
            place = int(offset[0]) if offset else None
            parts.append(Part(job, int(attempt), cast("Any", kind), content, place))
    return parts


def _wake(message: str) -> Wake:
    kind, _, tail = message.partition(":")
    if kind not in {"cancel", "revoke"}:
        return Wake("claim")
    job, _, attempt = tail.partition(":")
    return Wake(cast("Any", kind), job, int(attempt))
