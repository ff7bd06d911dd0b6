"""Takes and keeps the leadership, and gives it up in order."""

import asyncio
import logging
from contextlib import suppress

from common.connection import RedisUnavailable
from common.duty import run_duty
from common.store import Store
from scaler.metrics import LEADS
from scaler.settings import ScalerSettings

log = logging.getLogger(__name__)


class Leader:
    """Whether this scaler leads, as last heard.

    It may be wrong for a moment: the script that flips asks for the leadership itself.
    """

    def __init__(self, store: Store, settings: ScalerSettings, scaler: str) -> None:
        self._store = store
        self._settings = settings
        self._scaler = scaler
        self._last_try_s = float("-inf")
        self.leader: str | None = None

    @property
    def leads(self) -> bool:
        return self.leader == self._scaler

    @property
    def in_touch(self) -> bool:
        """Whether Redis answered lately."""
        return asyncio.get_running_loop().time() - self._last_try_s < self._settings.leader_s

    async def run(self, stop: asyncio.Event) -> None:
        try:
            await run_duty("lead", self._lead, stop, self._settings.lead_every_s)
        finally:
            await self._resign()

    async def _lead(self) -> None:
        asked_s = asyncio.get_running_loop().time()
        try:
            leader = await self._store.lead(self._scaler, self._settings.leader_s) or self._scaler
        except RedisUnavailable:
            self._heard(None)
            raise
        self._last_try_s = asked_s
        self._heard(leader)

    def _heard(self, leader: str | None) -> None:
        if leader != self.leader:
            log.info("leads now leader=%s me=%s", leader or "nobody known", self._scaler)
        self.leader = leader
        LEADS.labels(self._settings.pool).set(self.leads)

    async def _resign(self) -> None:
        # A standby then leads at its next try, instead of when the lock runs out.
        with suppress(RedisUnavailable):
            await self._store.resign(self._scaler)
        self._heard(None)
