"""The reclaimer: gives back what a silent unit holds, and what a lost reply left behind here.

It also sweeps away gateways that are dead: nobody listens to their jobs any more.
"""

import logging

from common.keys import CLASSES
from common.models import Lease
from common.store import Store
from common.views import Views
from dispatcher.claimer import Claimer
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJobs

log = logging.getLogger(__name__)

_FORGET_AFTER_S = 3600


class Reclaimer:
    """Any dispatcher may reclaim for any unit: the script checks the lease and the attempt."""

    def __init__(
        self,
        store: Store,
        views: Views,
        unit: str,
        running: RunningJobs,
        claimer: Claimer,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._views = views
        self._unit = unit
        self._running = running
        self._claimer = claimer
        self._metrics = metrics

    async def step(self) -> None:
        """Reclaim lapsed leases: this unit's own, and those of units without a heartbeat."""
        judged_ms = await self._views.judged_ms()
        for unit in {self._unit, *await self._views.silent_units(judged_ms)}:
            for lease, gateway in await self._views.lapsed(unit, judged_ms):
                # After an outage what still runs here is renewed, not taken from ourselves.
                if unit == self._unit and lease.job in self._running:
                    continue
                await self._give_back(unit, lease, gateway, "lease lapsed", lapsed_only=True)
        for unit in await self._views.silent_units(judged_ms - _FORGET_AFTER_S * 1000):
            await self._store.leave(unit)
        for gateway in await self._views.silent_gateways(judged_ms):
            await self._sweep(gateway)

    async def _sweep(self, gateway: str) -> None:
        """Cancel a dead gateway's jobs, then forget it: who dies in between leaves it to others."""
        cancelled = 0
        for job_class in CLASSES:
            for job in await self._views.jobs_of(gateway, job_class):
                await self._store.cancel(job, job_class, gateway, "gateway gone")
                cancelled += 1
        if await self._store.forget(gateway, dead_only=True):
            self._metrics.swept()
            log.warning("swept gateway=%s jobs=%d", gateway, cancelled)

    async def take_stock(self, reason: str, *, spared: bool) -> None:
        """Give back all that this unit holds in Redis but does not run."""
        for lease, gateway in await self._views.held(self._unit):
            if lease.job not in self._running:
                await self._give_back(self._unit, lease, gateway, reason, spared=spared)

    async def _give_back(
        self,
        unit: str,
        lease: Lease,
        gateway: str,
        reason: str,
        *,
        spared: bool = False,
        lapsed_only: bool = False,
    ) -> None:
        status = await self._store.requeue(
            unit, lease, gateway, reason, spared=spared, lapsed_only=lapsed_only
        )
        log.warning("reclaimed job=%s unit=%s reason=%s status=%s", lease.job, unit, reason, status)
        self._metrics.gave_back(lease.job_class, status, reason)
        if status == "OK":
            self._claimer.wake()
