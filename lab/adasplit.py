"""AdaSplit on virtual time: the real scripts on a real server, the real decision, no processes."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.timeline import Snapshot, snapshot
from common.connection import Connection
from common.keys import CLASSES
from common.models import NewJob, PoolView
from common.settings import Settings
from common.state import state_of
from common.steals import Stealing
from common.store import Store
from common.tallies import Tally
from common.views import Views
from lab.agenda import Agenda
from lab.asking import Asking
from lab.dispatcher import GATEWAY, VirtualDispatcher
from scaler import adaptive
from scaler.adjuster import Adjuster
from scaler.decider import flip_wanted
from scaler.qhap import Flip
from scaler.revoker import Revoker
from scaler.surveyor import Surveyor
from simulator.costs import CostModel

_SCALER = "lab"
_POLL_S = 2.0
_FOR_EVER_S = 1e8


def for_the_lab(settings: Settings) -> Settings:
    """These settings where nobody dies: no heartbeat is late and no lease lapses."""
    changes = {"alive_s": _FOR_EVER_S, "lease_s": _FOR_EVER_S, "job_ttl_s": 1.0}
    return settings.model_copy(update=changes)


class AdaSplit:
    """A gateway, a scaler and a dispatcher for each unit, as the calls that they make."""

    def __init__(
        self,
        agenda: Agenda,
        costs: CostModel,
        connection: Connection,
        settings: Settings,
        units: Sequence[str],
        timeout_s: float,
    ) -> None:
        self.seen: list[Snapshot] = []
        self.flips: Counter[str] = Counter()
        self.stealing = Stealing()
        self._agenda = agenda
        self._settings = settings
        self._store = Store(connection, settings, agenda.now_ms)
        self._views = Views(connection, settings, agenda.now_ms)
        self._surveyor = Surveyor(self._views)
        self._revoker = Revoker(self._store, _SCALER, settings.pool)
        self._adjuster = Adjuster(self._store, _SCALER)
        self.revoked = 0
        self._connection = connection
        self._timeout_s = timeout_s
        self._asked: dict[str, Asking] = {}
        self._dispatchers = {
            name: VirtualDispatcher(
                name, agenda, self._store, costs, self._asked, self._woke, settings, _POLL_S
            )
            for name in units
        }
        self._wakes = {self._store.keys.wake(name): name for name in units}

    async def start(self) -> None:
        """As processes do that have just started: all units Short, all asking for work."""
        await self._store.beat(GATEWAY)
        for dispatcher in self._dispatchers.values():
            await self._store.register(dispatcher.name, self._limits())
        await self._store.lead(_SCALER, _FOR_EVER_S)
        for dispatcher in self._dispatchers.values():
            await dispatcher.claim()
            if self._settings.adaptive:
                await dispatcher.reopen()
            if self._settings.slots == "online":
                await dispatcher.look()
        self._agenda.after(0.0, self._decide)
        if self._settings.adaptive:
            self._agenda.after(0.0, self._tell_limits)

    async def submit(self, asking: Asking) -> None:
        self._asked[asking.job] = asking
        submitted = await self._store.submit(self._new_job(asking))
        if submitted.status == "full":
            asking.ended("http_429:queue_full", self._agenda.now_s)
        await self._woke()

    async def cancel(self, asking: Asking) -> None:
        """Its client has left: in the queue at once, at the unit with the message to it."""
        await self._store.cancel(asking.job, asking.job_class, GATEWAY, "client left")
        await self._woke()

    async def end(self) -> None:
        """A last look at the pool, after everything."""
        view = await self._views.pool()
        self._note(view)
        self.stealing = view.stealing

    async def _decide(self) -> None:
        if self._agenda.now_s >= len(self.seen):
            self._note(await self._views.pool())
        tally = await self._views.tally()
        if self._settings.adaptive:
            await self._steer(tally)
        else:
            await self._flip(await flip_wanted(self._views, tally, self._settings))
        self._agenda.after(self._settings.decision_every_s, self._decide)

    async def _steer(self, tally: Tally) -> None:
        seen = await self._surveyor.look(tally, self._settings)
        decided = await self._surveyor.choose(lambda now: adaptive.decide(now, self._settings))
        await self._flip(decided)
        answer = await self._revoker.step(self._surveyor, self._settings)
        self.revoked += answer == "OK"
        await self._adjuster.step(seen.view, self._settings)
        await self._woke()

    async def _flip(self, flip: Flip | None) -> None:
        if flip is None:
            return
        answer = await self._store.flip(_SCALER, flip.unit, flip.to, flip.reason, self._settings)
        self.flips[flip.to if answer == "OK" else answer] += 1
        await self._woke()

    async def _tell_limits(self) -> None:
        """As dispatchers do that look what steals may be, with each heartbeat."""
        stealing = await self._views.stealing()
        for dispatcher in self._dispatchers.values():
            dispatcher.stealing = stealing
        self._agenda.after(self._settings.heartbeat_s, self._tell_limits)

    def _note(self, view: PoolView) -> None:
        state = state_of(self._settings.pool, view, self._settings)
        self.seen.append(snapshot(state, self._agenda.now_s))

    async def _woke(self) -> None:
        """Hand on what lies in the units' lists, until nothing more comes."""
        while True:
            read = await self._connection.command(
                "LMPOP", len(self._wakes), *self._wakes, "LEFT", "COUNT", 1000
            )
            if not read:
                return
            dispatcher = self._dispatchers[self._wakes[read[0].decode()]]
            for message in read[1]:
                await self._hear(dispatcher, message.decode())

    async def _hear(self, dispatcher: VirtualDispatcher, message: str) -> None:
        if message == "claim":
            await dispatcher.claim()
        else:
            kind, job, _ = message.split(":")
            asking = self._asked[job]
            await (dispatcher.revoked if kind == "revoke" else dispatcher.cancelled)(asking)

    def _new_job(self, asking: Asking) -> NewJob:
        return NewJob(
            id=asking.job,
            job_class=asking.job_class,
            tokens=asking.row.order.prompt_tokens,
            gateway=GATEWAY,
            route="/v1/chat/completions",
            stream=True,
            body=b"",
            # The client of the lab leaves before.
            timeout_s=2 * self._timeout_s,
        )

    def _limits(self) -> dict[str, Any]:
        own = {f"limit_{name}": self._settings.limit(name) for name in CLASSES}
        return {"limit": self._settings.worker_concurrency_limit, **own}
