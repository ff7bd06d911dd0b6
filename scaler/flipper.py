"""Looks at the pool, lets the policy decide, and asks for what it decided."""

import asyncio
import logging

from common.duty import run_duty, sleep_or_stop
from common.keys import CLASSES
from common.policy import Policy
from common.store import Store
from common.tallies import Tally
from common.views import Views
from scaler import adaptive
from scaler.adjuster import Adjuster
from scaler.decider import flip_wanted
from scaler.leader import Leader
from scaler.live_policy import LivePolicy
from scaler.metrics import FLIPS, POOL, REFUSED
from scaler.qhap import Flip
from scaler.revoker import Revoker
from scaler.settings import ScalerSettings
from scaler.surveyor import Surveyor

log = logging.getLogger(__name__)


class Flipper:
    """One decision every `decision_every_s`, while this scaler leads."""

    def __init__(
        self, store: Store, views: Views, settings: ScalerSettings, scaler: str, leader: Leader
    ) -> None:
        self._store = store
        self._views = views
        self._surveyor = Surveyor(views)
        self._pool = settings.pool
        self._scaler = scaler
        self._leader = leader
        self._revoker = Revoker(store, scaler, settings.pool)
        self._adjuster = Adjuster(store, scaler)
        self._live_policy = LivePolicy(settings, settings.pool)
        self._interval_s = settings.decision_every_s
        for name in CLASSES:
            # There before the first flip: growth from nothing is not seen.
            FLIPS.labels(settings.pool, name)

    async def run(self, stop: asyncio.Event) -> None:
        async def step() -> None:
            # The interval has a live override too, so the step itself waits.
            await self.step()
            await sleep_or_stop(stop, self._interval_s)

        await run_duty("flip", step, stop)

    async def step(self) -> None:
        """One look and at most one flip."""
        if not self._leader.leads:
            POOL.hide()
            self._rest()
            return
        tally = await self._views.tally()
        policy = self._live_policy.under(tally.overrides)
        self._interval_s = policy.decision_every_s
        if policy.adaptive:
            await self._steer(tally, policy)
            return
        self._rest()
        if flip := await flip_wanted(self._views, tally, policy):
            await self._flip(flip, policy)

    def _rest(self) -> None:
        self._surveyor.rest()
        self._adjuster.rest()

    async def _steer(self, tally: Tally, policy: Policy) -> None:
        seen = await self._surveyor.look(tally, policy)
        if flip := await self._surveyor.choose(lambda now: adaptive.decide(now, policy)):
            await self._flip(flip, policy)
        await self._revoker.step(self._surveyor, policy)
        await self._adjuster.step(seen.view, policy)

    async def _flip(self, flip: Flip, policy: Policy) -> None:
        answer = await self._store.flip(self._scaler, flip.unit, flip.to, flip.reason, policy)
        if answer == "OK":
            FLIPS.labels(self._pool, flip.to).inc()
            log.info("flipped unit=%s to=%s reason=%s", flip.unit, flip.to, flip.reason)
        else:
            REFUSED.labels(self._pool, answer.lower()).inc()
            log.debug("refused a flip unit=%s to=%s answer=%s", flip.unit, flip.to, answer)
