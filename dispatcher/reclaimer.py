"""The reclaimer: gives back what a silent unit holds, and what a lost reply left behind here.

It also sweeps away gateways that are dead: nobody listens to their jobs any more.
"""

import logging
import random

from common.keys import CLASSES
from common.models import Lease
from common.store import Store
from common.views import Views
from dispatcher.claimer import Claimer
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJobs

log = logging.getLogger(__name__)


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
        overdue = await self._views.overdue(self._unit, random.random())  # noqa: S311  # spreading, not a secret
        for lease, gateway in overdue.lapsed:
            # After an outage what still runs here is renewed, not taken from ourselves.
            if lease.job not in self._running:
                await self._reclaim(self._unit, lease, gateway)
        for unit in overdue.units:
            if unit != self._unit:
                for lease, gateway in await self._views.lapsed(unit, overdue.judged_ms):
                    await self._reclaim(unit, lease, gateway)
        for unit in overdue.forgotten:
            await self._store.leave(unit)
        for gateway in overdue.gateways:
            await self._sweep(gateway)

    async def _reclaim(self, unit: str, lease: Lease, gateway: str) -> None:
        await self._give_back(unit, lease, gateway, "lease lapsed", lapsed_only=True)

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
