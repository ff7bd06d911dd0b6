"""A dispatcher on virtual time: the same calls of the store, when the real one would make them."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

from common.keys import CLASSES, JobClass
from common.models import UNBOUNDED, Bounds, Claim, ClaimedJob, Finish, Lease, Outcome, Part, Relay
from common.policy import Policy
from common.prefill import Prefill
from common.steals import Stealing, Weighed
from common.store import Store
from dispatcher.bounds import UnitState, bounds
from dispatcher.online import Look, OnlineLimits, Stream
from dispatcher.service import REOPEN_EVERY_S
from dispatcher.weigher import EVERY_S
from lab.agenda import Agenda, Appointment
from lab.asking import Asking
from lab.unit import VirtualUnit
from simulator.costs import CostModel
from simulator.engine import Sequence as Prompt
from simulator.engine import State

GATEWAY = "lab"


class VirtualDispatcher:
    """One unit and who claims for it.

    `woke` is called after every script that may have woken somebody.
    """

    def __init__(
        self,
        name: str,
        agenda: Agenda,
        store: Store,
        costs: CostModel,
        asked: Mapping[str, Asking],
        woke: Callable[[], Awaitable[None]],
        policy: Policy,
        poll_s: float,
    ) -> None:
        self.name = name
        self.unit = VirtualUnit(agenda, costs, self._told)
        self._agenda = agenda
        self._store = store
        self._asked = asked
        self._woke = woke
        self._policy = policy
        self._poll_s = poll_s
        self._timer: Appointment | None = None
        self._role: JobClass = "short"
        self._role_since_s = float("-inf")
        self._held: dict[str, tuple[Asking, float]] = {}
        self._online = OnlineLimits(policy)
        self._stolen: dict[str, Appointment] = {}
        self._listed = UNBOUNDED
        self.stealing = Stealing()

    async def reopen(self) -> None:
        """As its service: now and then time alone opens the bounds."""
        if self._bounds().opens(self._listed):
            await self.claim()
        self._agenda.after(REOPEN_EVERY_S, self.reopen)

    async def claim(self) -> None:
        """As the claimer: take what there is, and ask again when the claim says so."""
        await self._turn(claim=True)

    async def cancelled(self, asking: Asking) -> None:
        """Abort an attempt that nobody waits for, and say so."""
        await self._prefilled(asking)
        self.unit.abort(asking.prompt)
        del self._held[asking.job]
        await self._turn(finishes=[_finish(asking, "cancelled")], claim=True)

    async def revoked(self, asking: Asking) -> None:
        """Hand back an attempt that has sent nothing, and look for what the unit is needed for."""
        if asking.job not in self._held or asking.prompt.generated_tokens:
            return
        await self._prefilled(asking)
        self.unit.abort(asking.prompt)
        del self._held[asking.job]
        asking.renew()
        lease = Lease(asking.job, asking.attempt, asking.job_class)
        await self._store.requeue(
            self.name, lease, GATEWAY, "short jobs needed its unit", revoked=True
        )
        await self._woke()
        await self._turn(claim=True)

    async def _turn(
        self, heads: Sequence[Part] = (), finishes: Sequence[Finish] = (), *, claim: bool
    ) -> None:
        relays = [Relay(GATEWAY, tuple(heads))] if heads else []
        told = self._bounds()
        turn = await self._store.turn(
            self.name,
            relays=relays,
            finishes=finishes,
            claim=claim,
            bounds=self._online.within(told, self._policy),
            rest=not claim,
            policy=self._policy,
        )
        if turn.claim:
            self._claimed(turn.claim)
            await self._woke()
        elif finishes:
            self._listed = told
        if turn.waiting:
            await self._turn(claim=True)

    def _bounds(self) -> Bounds:
        return bounds(self._state(), self._policy, self.stealing)

    def _state(self) -> UnitState:
        now_s = self._agenda.now_s
        unsent: dict[JobClass, list[Prefill]] = {"short": [], "long": []}
        for asking, since_s in self._held.values():
            if not asking.prompt.generated_tokens:
                prefill = Prefill(asking.row.order.prompt_tokens, now_s - since_s)
                unsent[asking.job_class].append(prefill)
        return UnitState(
            short=tuple(unsent["short"]),
            long=tuple(unsent["long"]),
            short_held=sum(asking.job_class == "short" for asking, _ in self._held.values()),
            role=self._role,
            role_age_s=now_s - self._role_since_s,
        )

    async def look(self) -> None:
        """As the limiter: every so often, and a claim when more may be held."""
        before = [self._online.limit(name, self._policy) for name in CLASSES]
        self._online.look(self._seen(), self._policy)
        now = [self._online.limit(name, self._policy) for name in CLASSES]
        if any((new or 0) > (old or 0) for old, new in zip(before, now, strict=True)):
            await self._turn(claim=True)
        self._agenda.after(self._policy.slots_interval_s, self.look)

    def _seen(self) -> Look:
        askings = [asking for asking, _ in self._held.values()]
        return Look(
            self._agenda.now_s,
            tuple(
                Stream(asking.job, asking.job_class, asking.prompt.generated_tokens)
                for asking in askings
                if asking.prompt.generated_tokens
            ),
            self._count(askings),
            self._count(asking for asking in askings if not asking.prompt.generated_tokens),
        )

    def _claimed(self, claim: Claim) -> None:
        if claim.role != self._role:
            self._role, self._role_since_s = claim.role, self._agenda.now_s
        for job in claim.jobs:
            self._start(job)
            if claim.role == "short" and job.job_class == "long":
                self._agenda.at(self._agenda.now_s, partial(self._weigh, self._asked[job.id]))
        self._online.claimed(self._count(asking for asking, _ in self._held.values()), self._policy)
        if self._timer:
            self._timer.cancel()
        self._listed = UNBOUNDED if claim.full else self._bounds()
        wait_s = self._poll_s if claim.wait_s is None else min(self._poll_s, claim.wait_s)
        self._timer = self._agenda.after(wait_s, self.claim)

    def _count(self, askings: Iterable[Asking]) -> dict[JobClass, int]:
        counted = Counter(asking.job_class for asking in askings)
        return {name: counted[name] for name in CLASSES}

    def _start(self, job: ClaimedJob) -> None:
        asking = self._asked[job.id]
        asking.placed(self.name, self._agenda.now_s, job.attempt)
        self._held[job.id] = asking, self._agenda.now_s
        asking.row.headers |= {"why": job.why}
        self.unit.add_after(asking.path_s, asking.prompt)

    async def _weigh(self, asking: Asking) -> None:
        """As the weigher: look until the prefill is over."""
        if asking.job in self._held and not asking.prompt.generated_tokens:
            await self._look(asking, over=False)
            self._stolen[asking.job] = self._agenda.after(EVERY_S, partial(self._weigh, asking))

    async def _prefilled(self, asking: Asking) -> None:
        if appointment := self._stolen.pop(asking.job, None):
            appointment.cancel()
            await self._look(asking, over=True)

    async def _look(self, asking: Asking, *, over: bool) -> None:
        since_s = self._held[asking.job][1]
        behind = sum(
            other.job_class == "short" and not other.prompt.generated_tokens and at_s >= since_s
            for other, at_s in self._held.values()
        )
        steal = Weighed(asking.job, asking.attempt, behind, self._policy.limit("short"))
        await self._store.weigh(self.name, steal, over=over)

    async def _told(self, emitted: Sequence[Prompt]) -> None:
        heads, finishes = [], []
        for prompt in emitted:
            asking: Asking = prompt.owner
            asking.wrote()
            if prompt.generated_tokens == 1:
                await self._prefilled(asking)
                heads.append(Part(asking.job, asking.attempt, "head", b"{}"))
            if prompt.state is State.FINISHED:
                asking.answered()
                if asking.row.tpot_s is not None:
                    self._online.ended(asking.job_class, asking.row.tpot_s)
                del self._held[asking.job]
                finishes.append(_finish(asking))
        if heads or finishes:
            await self._turn(heads, finishes, claim=self._bounds().opens(self._listed))


def _finish(asking: Asking, outcome: Outcome = "ok") -> Finish:
    return Finish(
        job=asking.job,
        attempt=asking.attempt,
        job_class=asking.job_class,
        gateway=GATEWAY,
        outcome=outcome,
        status=200,
        prompt_tokens=asking.prompt.prompt_tokens,
        completion_tokens=asking.prompt.generated_tokens,
    )
