"""Looks at every unit for the metrics page, while this scaler leads."""

import asyncio
import time

from common.duty import run_duty, sleep_or_stop
from common.views import Views
from scaler.leader import Leader
from scaler.metrics import POOL
from scaler.settings import ScalerSettings

_EVERY_S = 1.0
_SHARE = 20
"""A look at thousands of units takes a while: it may take this part of the time, no more."""


class Watcher:
    """Decides nothing: the published rules do without most of what a look at every unit costs."""

    def __init__(self, views: Views, settings: ScalerSettings, leader: Leader) -> None:
        self._views = views
        self._settings = settings
        self._leader = leader
        self._wait_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        async def step() -> None:
            await self._look()
            await sleep_or_stop(stop, self._wait_s)

        await run_duty("watch", step, stop)

    async def _look(self) -> None:
        begun_s = time.monotonic()
        if self._leader.leads:
            view = await self._views.pool()
            POOL.show(self._settings.pool, view, self._settings.under(view.overrides))
        if not self._leader.leads:
            POOL.hide()
        self._wait_s = max(_EVERY_S, _SHARE * (time.monotonic() - begun_s))
