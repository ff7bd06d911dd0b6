"""Runs dead-lettered jobs again, and stands in for the gateway of those that nobody waits for."""

import asyncio
import logging
import secrets
from contextlib import suppress
from typing import Literal

from common.connection import RedisUnavailable
from common.dead import DeadLetters
from common.duty import run_duty
from common.store import Store
from common.views import Views
from dashboard.settings import DashboardSettings

log = logging.getLogger(__name__)

Revived = Literal["again", "gone", "full"]


class Reviver:
    """A gateway without clients: it beats while its jobs run, and throws their answers away.

    What comes of them stands in their records: outcome, status, tokens, times. When the dashboard
    ends before them they are cancelled, as those of every gateway.
    """

    def __init__(
        self, store: Store, views: Views, dead: DeadLetters, settings: DashboardSettings
    ) -> None:
        self._id = f"dashboard-{secrets.token_hex(6)}"
        self._store = store
        self._views = views
        self._dead = dead
        self._settings = settings
        self._open: set[str] = set()
        # Between its last job and the next the gateway leaves; not while one is being submitted.
        self._turn = asyncio.Lock()

    async def revive(self, job: str) -> Revived:
        """Submit a dead job again, once, however often it is asked for. Raises RedisUnavailable."""
        async with self._turn:
            return await self._revive(job)

    async def _revive(self, job: str) -> Revived:
        again = await self._dead.again(job, self._id)
        if again is None:
            return "gone"
        await self._store.beat(self._id)
        self._open.add(again.id)
        overrides = await self._views.overrides()
        submitted = await self._store.submit(again, self._settings.under(overrides))
        if submitted.status == "full":
            self._open.discard(again.id)
            return "full"
        await self._dead.forget(job, self._settings.dashboard_rq_jobs, again.id)
        log.info("runs again job=%s as=%s", job, again.id)
        return "again"

    async def run(self, stop: asyncio.Event) -> None:
        try:
            await run_duty("revive", self._step, stop, self._settings.heartbeat_s)
        finally:
            with suppress(RedisUnavailable):
                await self._store.forget(self._id)

    async def _step(self) -> None:
        if self._open:
            async with self._turn:
                await self._keep()

    async def _keep(self) -> None:
        await self._store.beat(self._id)
        jobs = sorted(self._open)
        states = await self._views.states(jobs)
        pairs = zip(jobs, states, strict=True)
        self._open -= {job for job, state in pairs if state in {None, "finished"}}
        await self._store.trim_replies(self._id, str(await self._views.now_ms()))
        if not self._open:
            await self._store.forget(self._id)
