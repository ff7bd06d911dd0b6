"""Keeps RQ's keys true while somebody looks; without viewers it reads and writes nothing."""

import asyncio
import time
from collections.abc import Iterable
from itertools import chain

from common.inspection import Inspection
from common.keys import CLASSES
from common.models import DeadView, HeldView, JobView
from common.views import Views
from dashboard.happenings import Happenings
from dashboard.picture import Picture, draw
from dashboard.rq_writer import RqWriter
from dashboard.settings import DashboardSettings

_GOOD_FOR_S = 1.0


class Projector:
    """Draws the pool anew when what was drawn is older than a second, once for all who ask."""

    def __init__(
        self,
        views: Views,
        inspection: Inspection,
        happenings: Happenings,
        writer: RqWriter,
        settings: DashboardSettings,
    ) -> None:
        self._views = views
        self._inspection = inspection
        self._happenings = happenings
        self._writer = writer
        self._most = settings.dashboard_rq_jobs
        self._turn = asyncio.Lock()
        self._drawn_s = -_GOOD_FOR_S
        self._picture = Picture({}, ())
        self._settled: dict[str, JobView] = {}
        self._hidden: dict[str, None] = {}

    async def refresh(self, *, now: bool = False) -> None:
        """Draw, unless that was done within the last second. Raises RedisUnavailable."""
        asked_s = time.monotonic()
        async with self._turn:
            stale = self._drawn_s + _GOOD_FOR_S < asked_s
            if stale or (now and self._drawn_s < asked_s):
                began_s = time.monotonic()
                await self._draw()
                self._drawn_s = began_s

    def hide(self, job: str) -> None:
        """Show an ended job no more."""
        self._hidden[job] = None
        while len(self._hidden) > self._most:
            del self._hidden[next(iter(self._hidden))]

    def shown(self, job_class: str, place: str) -> list[str]:
        """The jobs of a class that stood in a place when the pool was last drawn."""
        jobs = self._picture.jobs.values()
        return [job.id for job in jobs if (job.job_class, job.place) == (job_class, place)]

    async def _draw(self) -> None:
        view = await self._views.pool()
        held = await self._inspection.held([unit.name for unit in view.units], self._most)
        waiting = [await self._inspection.waiting(name, self._most) for name in CLASSES]
        dead = await self._inspection.dead(self._most)
        ended = [job for name in CLASSES for job in self._happenings.ended[name]]
        shown = [job for job in ended if job not in self._hidden]
        known = await self._read(held.values(), dead, [*chain(*waiting), *shown])
        self._picture = draw(view.units, held, dead, chain(*waiting), known)
        await asyncio.to_thread(self._writer.write, self._picture)

    async def _read(
        self, held: Iterable[HeldView], dead: list[DeadView], others: list[str]
    ) -> dict[str, JobView]:
        """The records of all these jobs; that of an ended one does not change any more."""
        running = [job for unit in held for job in unit.jobs]
        wanted = list(dict.fromkeys([*others, *running, *(letter.job for letter in dead)]))
        missing = [job for job in wanted if job not in self._settled]
        read = await self._inspection.jobs(missing)
        known = {job: view for job in wanted if (view := self._settled.get(job) or read.get(job))}
        self._settled = {job: view for job, view in known.items() if view.state == "finished"}
        return known
