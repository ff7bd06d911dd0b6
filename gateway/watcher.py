"""Looks at the pool about once a second, so that the door need not ask Redis."""

import asyncio
import logging
import math
import time
from contextlib import suppress

from common.connection import RedisUnavailable
from common.duty import run_duty
from common.keys import CLASSES, JobClass
from common.policy import Policy
from common.tallies import Tally
from common.views import Views
from gateway.drain import Drain

log = logging.getLogger(__name__)


class Watcher:
    """The pool as last seen, and what follows from several looks: how fast the queues drain."""

    def __init__(self, views: Views, policy: Policy, every_s: float, alive_s: float) -> None:
        self.view: Tally | None = None
        self.policy = policy
        self._views = views
        self._settings = policy
        self._every_s = every_s
        self._alive_s = alive_s
        self._seen_at = -math.inf
        self._looking = asyncio.Lock()
        self._drains: dict[JobClass, Drain] = {name: Drain() for name in CLASSES}

    async def run(self, stop: asyncio.Event) -> None:
        await run_duty("watch", self.look, stop, self._every_s)

    async def catch_up(self) -> None:
        """Look now if that is overdue: somebody has found Redis back, and more will come."""
        async with self._looking:
            if not self.fresh:
                # Where Redis is away again already, the next look finds it.
                with suppress(RedisUnavailable):
                    await self.look()

    async def look(self) -> None:
        view = await self._views.tally()
        if self.view:
            self._measure(self.view, view)
        self._seen_at = time.monotonic()
        if self.view is None or view.overrides != self.view.overrides:
            self.policy = self._settings.under(view.overrides)
        self.view = view

    @property
    def fresh(self) -> bool:
        """Whether the pool was seen within the time in which a heartbeat counts."""
        return time.monotonic() - self._seen_at <= self._alive_s

    @property
    def live_units(self) -> int:
        """How many units lived when last seen."""
        return self.view.alive if self.view else 0

    @property
    def unit_back_s(self) -> int:
        """When to ask again while no unit lives: one that restarts is seen by then."""
        return max(1, math.ceil(self._alive_s))

    @property
    def models(self) -> tuple[str, ...]:
        """What live units serve; empty when none of them says."""
        return self.view.models if self.view and self.view.alive else ()

    def depth(self, job_class: JobClass) -> int:
        """Jobs of a class that waited when last seen."""
        return self.view.queues[job_class].depth if self.view else 0

    def oldest_s(self, job_class: JobClass) -> float:
        """How long the oldest waiting job of a class had waited when last seen; 0 without one."""
        return (self.view.queues[job_class].oldest_s or 0.0) if self.view else 0.0

    def drain(self, job_class: JobClass) -> Drain:
        """How fast a class's queue moves, of late."""
        return self._drains[job_class]

    def _measure(self, before: Tally, after: Tally) -> None:
        passed_s = (after.now_ms - before.now_ms) / 1000
        if passed_s > 0:
            for name, drain in self._drains.items():
                drain.look(before.queues[name], after.queues[name], passed_s)
