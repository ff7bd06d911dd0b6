"""Looks at the pool for all who watch: one reader a process, so that viewers cost Redis nothing."""

import asyncio
import logging
import time
from collections.abc import Iterable

from common.connection import RedisUnavailable
from common.duty import sleep_or_stop
from common.inspection import Inspection
from common.metrics import REDIS_OUTAGES
from common.models import HeldView, JobView
from common.views import Views
from dashboard.follower import Follower
from dashboard.history import History
from dashboard.metrics import LOOK_SECONDS, LOOKS
from dashboard.settings import DashboardSettings
from dashboard.sight import Sight

log = logging.getLogger(__name__)

HELD_SHOWN = 64
"""Jobs of a unit that are looked at one by one; of more only the number is known."""

_ENDED_READ = 200
_HELD_READ = 1000
_REDIS_PATIENCE_S = 1.5


class Reader:
    """One look every `look_s`; an absent Redis is a look as well, that saw nothing."""

    def __init__(
        self, views: Views, inspection: Inspection, history: History, settings: DashboardSettings
    ) -> None:
        self._views = views
        self._inspection = inspection
        self._history = history
        self._every_s = settings.dashboard_look_s
        self._pool = settings.pool
        self._follower = Follower(views, settings.dashboard_history_s)
        self._known: dict[str, JobView] = {}

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            began_s = time.monotonic()
            await self._step()
            await sleep_or_stop(stop, max(0.05, self._every_s - (time.monotonic() - began_s)))

    async def _step(self) -> None:
        try:
            # A Redis that hangs is to be shown as away long before a quick call gives up.
            with LOOK_SECONDS.labels(self._pool).time():
                async with asyncio.timeout(_REDIS_PATIENCE_S + self._every_s):
                    await self._look()
            LOOKS.labels(self._pool, "pool").inc()
        except (RedisUnavailable, TimeoutError) as outage:
            REDIS_OUTAGES.labels("look").inc()
            LOOKS.labels(self._pool, "nothing").inc()
            if self._history.up:
                log.warning("redis away duty=look error=%s", outage)
            self._history.miss(str(outage) or "it does not answer")

    async def _look(self) -> None:
        events = await self._follower.read()
        view = await self._views.pool()
        held = await self._inspection.held([unit.name for unit in view.units], HELD_SHOWN)
        leader, cooldown_s = await self._inspection.scaler()
        moved = {event["job"] for event in events if "job" in event}
        jobs = await self._held_jobs(held.values(), moved)
        ended = [event["job"] for event in events if event["event"] == "finished"]
        finished = await self._inspection.jobs(ended[-_ENDED_READ:])
        sight = Sight(view, held, jobs, leader, cooldown_s)
        self._history.add(sight, events, list(finished.values()), self._follower.skipped)

    async def _held_jobs(self, held: Iterable[HeldView], moved: set[str]) -> dict[str, JobView]:
        """What is known of the held jobs; each is read again only when something happened to it."""
        ids = [job for unit in held for job in unit.jobs]
        unknown = [job for job in ids if job in moved or job not in self._known]
        read = await self._inspection.jobs(unknown[:_HELD_READ])
        known = self._known | read
        self._known = {job: known[job] for job in ids if job in known}
        return self._known
