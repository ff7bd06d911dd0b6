"""The forwarder: the one duty that sends to Redis what this dispatcher has to say, in turns.

A turn is one round trip: parts of answers, then finished jobs, then a claim. There is never more
than one under way, so a job's parts, its outcome and its slot keep their order. What gathers
meanwhile goes with the next turn: alone a part leaves at once, under load parts travel in batches.
"""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from common.connection import RedisUnavailable
from common.duty import Backoff
from common.metrics import REDIS_OUTAGES
from common.models import (
    UNBOUNDED,
    Bounds,
    Claim,
    ClaimedJob,
    Finish,
    Part,
    PartKind,
    Relay,
    Relayed,
    Turn,
)
from common.store import Store
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJobs

log = logging.getLogger(__name__)


def _newest_first(part: Part) -> int:
    return -part.attempt


@dataclass(slots=True)
class _Waiting:
    """What has come of one kind for one attempt, from `offset` on."""

    offset: int
    contents: list[bytes] = field(default_factory=list)

    def part(self, job: str, attempt: int, kind: PartKind) -> Part:
        offset = self.offset if kind == "chunk" else None
        return Part(job, attempt, kind, b"".join(self.contents), offset)


_Gathered = dict[tuple[str, int, PartKind], _Waiting]


class Forwarder:
    """Gathers parts, finishes and the wish to claim, and sends them."""

    def __init__(
        self,
        store: Store,
        unit: str,
        running: RunningJobs,
        metrics: Metrics,
        flush_interval_s: float,
    ) -> None:
        self._store = store
        self._unit = unit
        self._running = running
        self._metrics = metrics
        self._flush_interval_s = flush_interval_s
        self._run = uuid.uuid4().hex
        self._number = 0
        self._parts: dict[str, _Gathered] = {}
        self._waiting = 0
        self._streams = 0
        self._finishes: list[Finish] = []
        self._claim_wanted = False
        self._backlog = False
        self._due = asyncio.Event()
        self._posting = False
        self._turning = False
        self._landed: asyncio.Future[None] | None = None
        self._unsettled: list[Relay] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sent_at = -math.inf
        self.sent_all = asyncio.Event()
        self.sent_all.set()
        self.claimed: Callable[[Claim], None] = lambda _: None
        self.bounds: Callable[[], Bounds] = lambda: UNBOUNDED
        self.rested: Callable[[Bounds], None] = lambda _: None
        self.recover: Callable[[], Awaitable[None]] | None = None

    def put(self, job: ClaimedJob, kind: PartKind, content: bytes, offset: int = 0) -> None:
        """Take a part. A head leaves at once; chunks wait for those of the other streams.

        An engine's step brings each stream a token at about the same time. Once all have theirs, or
        the flush interval has passed since the first, they leave.
        """
        parts = self._parts.get(job.gateway)
        if parts is None:
            parts = self._parts[job.gateway] = {}
        key = (job.id, job.attempt, kind)
        waiting = parts.get(key)
        if waiting is None:
            waiting = parts[key] = _Waiting(offset)
            self._waiting += 1
            self.sent_all.clear()
        waiting.contents.append(content)
        if kind == "head":
            self._due.set()
        elif (self._timer is None or self._waiting == self._streams) and not self._due.is_set():
            self._send_soon()

    def finish(self, finish: Finish) -> None:
        """Take a job's outcome; it goes at once, behind the job's parts.

        A claim goes with it while jobs wait, as far as was seen last; else Redis says whether to.
        """
        self._finishes.append(finish)
        self.sent_all.clear()
        self._due.set()

    def drop(self, job: ClaimedJob) -> None:
        """Forget what an earlier run of a job has still to say.

        A Redis that lost its last second gives the same attempt to the same unit again: nothing
        there would tell the two runs apart.
        """
        parts = self._parts.get(job.gateway, {})
        for key in [key for key in parts if key[0] == job.id]:
            del parts[key]
            self._waiting -= 1
        self._finishes = [finish for finish in self._finishes if finish.job != job.id]

    def ask_claim(self) -> None:
        """Claim with the next turn, and let that be now."""
        self._claim_wanted = True
        self._due.set()

    async def run(self, most: Callable[[], int | None]) -> None:
        """Send turns until cancelled; a turn that Redis did not answer is sent again.

        `most` says how many jobs a claim may bring, None for as many as fit.
        """
        while True:
            await self._due.wait()
            if self._posting:
                self._landed = asyncio.get_running_loop().create_future()
                await self._landed
            self._due.clear()
            await self._send(most())

    def _send_soon(self) -> None:
        now_s = time.monotonic()
        due_s = now_s + self._flush_interval_s
        if self._timer is None:
            self._streams = self._running.streams()
        else:
            self._timer.cancel()
            self._timer = None
        if self._waiting >= self._streams:
            # Nothing to wait for, but that batches are not too many.
            due_s = self._sent_at + self._flush_interval_s
        if due_s <= now_s:
            self._flush()
        else:
            self._timer = asyncio.get_running_loop().call_later(due_s - now_s, self._flush)

    def _flush(self) -> None:
        """Send chunks that have waited for long enough: without the task, when it rests."""
        self._timer = None
        if self._posting:
            return
        if self._turning or self._due.is_set():
            self._due.set()
            return
        relays = self._take_relays()
        if not relays:
            self._look_whether_sent_all()
            return
        self._posting = self._store.post(self._unit, relays, partial(self._posted, relays))
        if not self._posting:
            self._unsettled = relays
            self._due.set()

    def _posted(self, relays: list[Relay], relayed: tuple[Relayed, ...] | None) -> None:
        self._posting = False
        self._sent_at = time.monotonic()
        if relayed is None:
            # The next turn brings them again, and waits until Redis has them.
            self._unsettled = relays
            self._due.set()
        else:
            self._settle(relays, [], Turn(relayed, (), None))
        if self._landed and not self._landed.done():
            self._landed.set_result(None)
        self._look_whether_sent_all()
        if self._parts and self._timer is None:
            self._flush()

    async def _send(self, most: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        relays, finishes = [*self._unsettled, *self._take_relays()], self._take_finishes()
        self._unsettled = []
        # A unit on trial may not take what a submit would wake it for.
        usual = (self._backlog and self.bounds().takes_any) or most is not None
        wanted = self._claim_wanted or (bool(finishes) and usual)
        claim = wanted and most != 0
        self._claim_wanted = False
        if relays or finishes or claim:
            self.sent_all.clear()
            self._turning = True
            turn = await self._turn(relays, finishes, claim=claim, most=most)
            self._turning = False
            self._sent_at = time.monotonic()
            self._settle(relays, finishes, turn)
        self._look_whether_sent_all()

    def _look_whether_sent_all(self) -> None:
        if not self._parts and not self._finishes and not self._unsettled:
            self.sent_all.set()

    async def _turn(
        self, relays: list[Relay], finishes: list[Finish], *, claim: bool, most: int | None
    ) -> Turn:
        backoff = Backoff()
        while True:
            try:
                if backoff.tried and self.recover:
                    await self.recover()
                bounds = self.bounds()
                turn = await self._store.turn(
                    self._unit,
                    relays=relays,
                    finishes=finishes,
                    claim=claim,
                    most=most,
                    bounds=bounds,
                    rest=not claim and most is None,
                )
            except RedisUnavailable as outage:
                wait_s = backoff.failed()
                REDIS_OUTAGES.labels("forwarder").inc()
                log.warning("redis away duty=forwarder wait_s=%.2f error=%s", wait_s, outage)
                await asyncio.sleep(wait_s)
            else:
                if finishes and not claim:
                    self.rested(bounds)
                return turn

    def _take_relays(self) -> list[Relay]:
        parts, self._parts = self._parts, {}
        self._waiting = 0
        return [self._relay(gateway, gathered) for gateway, gathered in parts.items() if gathered]

    def _relay(self, gateway: str, gathered: "_Gathered") -> Relay:
        self._number += 1
        parts = [waiting.part(*key) for key, waiting in gathered.items()]
        self._metrics.relayed(len(parts), sum(len(part.content) for part in parts))
        return Relay(gateway, tuple(parts), self._run, self._number)

    def _take_finishes(self) -> list[Finish]:
        finishes, self._finishes = self._finishes, []
        return finishes

    def _settle(self, relays: list[Relay], finishes: list[Finish], turn: Turn) -> None:
        for relay, relayed in zip(relays, turn.relayed, strict=True):
            # The oldest attempt in the batch: a newer one of the same job may run here by now.
            attempts = {part.job: part.attempt for part in sorted(relay.parts, key=_newest_first)}
            for job in relayed.superseded:
                self._running.abort(job, "superseded", attempts[job])
            if relayed.gone:
                self._running.abort_all("gateway gone", relay.gateway)
        for finish, status in zip(finishes, turn.finished, strict=True):
            self._running.settle(finish.job, finish.attempt)
            if status != "SUPERSEDED":
                self._metrics.finished(finish.job_class, finish.outcome)
        if turn.waiting:
            self.ask_claim()
        if turn.claim is not None:
            self.claimed(turn.claim)
        if finishes:
            self._backlog = bool(turn.claim.jobs) if turn.claim else turn.waiting
