"""The dispatcher as a whole: what it consists of, and the order in which that starts and stops."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry
from starlette.applications import Starlette

from common.connection import Connection, RedisUnavailable
from common.duty import run_duty, run_once
from common.keys import JobClass
from common.lag import LagMeter
from common.models import Bounds, Claim
from common.server import Server, admin_app
from common.store import Store
from common.views import Views
from dispatcher.bounder import Bounder
from dispatcher.caller import Caller
from dispatcher.claimer import Claimer
from dispatcher.forwarder import Forwarder
from dispatcher.health import UnitHealth
from dispatcher.heartbeater import Heartbeater
from dispatcher.limiter import Limiter
from dispatcher.listener import Listener
from dispatcher.metrics import Metrics
from dispatcher.prober import Prober
from dispatcher.reclaimer import Reclaimer
from dispatcher.renewer import Renewer
from dispatcher.running import RunningJob, RunningJobs
from dispatcher.settings import DispatcherSettings
from dispatcher.unit_client import UnitClient
from dispatcher.weigher import Weigher

if TYPE_CHECKING:
    from common.tracing import Tracing

log = logging.getLogger(__name__)

REOPEN_EVERY_S = 0.5
_RECLAIM_EVERY_S = 1.0
_LAST_WORDS_S = 5.0


class Service:
    """One dispatcher for one unit."""

    def __init__(
        self,
        settings: DispatcherSettings,
        connection: Connection,
        registry: CollectorRegistry = REGISTRY,
        tracing: "Tracing | None" = None,
    ) -> None:
        unit = settings.unit
        self._settings = settings
        self._registry = registry
        self._store = Store(connection, settings)
        self._metrics = Metrics(settings.pool, unit, registry)
        self._running = RunningJobs()
        self._health = UnitHealth(settings.unit_backoff_longest_s)
        self._metrics.observe(self._running, self._health)
        self._client = UnitClient(settings)
        self._prober = Prober(self._client, self._health)
        self._forwarder = Forwarder(
            self._store, unit, self._running, self._metrics, settings.flush_interval_s
        )
        self._caller = Caller(
            self._client,
            self._store,
            self._forwarder,
            self._running,
            self._health,
            self._metrics,
            settings,
            tracing,
        )
        self._claimer = Claimer(
            self._forwarder,
            self._caller,
            self._health,
            self._metrics,
            self._may_claim,
            settings.claim_poll_s,
        )
        views = Views(connection, settings)
        self._reclaimer = Reclaimer(
            self._store,
            views,
            unit,
            self._running,
            self._claimer,
            self._metrics,
        )
        self._bounder = Bounder(views, settings, self._running)
        self._limiter = Limiter(
            self._running, self._metrics, settings, lambda: self._bounder.policy
        )
        self._metrics.observe_limits(self._limiter.limit, self._limiter.tpot_s)
        self._weigher = Weigher(self._store, unit, self._running, self._bounder, self._metrics)
        self._heartbeater = Heartbeater(
            self._store, self._health, self._prober, self._bounder, self._limiter, settings
        )
        self._listener = Listener(self._store, unit, self._claimer, self._running)
        self._renewer = Renewer(self._store, views, unit, self._running)
        self._forwarder.claimed, self._forwarder.rested = self._claimed, self._bounder.rested
        self._forwarder.bounds = self._bounds
        self._claimer.takes_any = lambda: self._bounds().takes_any
        self._caller.first_byte = self._first_byte
        self._caller.answered = self._limiter.answered
        self._limiter.raised = self._claimer.wake
        self._forwarder.recover = self._recover
        self._health.changed = self._health_changed
        self._health.trusted = self._claimer.wake

    async def run(self, stop: asyncio.Event, listener: socket.socket) -> None:
        """Serve until `stop`, then drain.

        Order of stopping: first no more claims and no heartbeat, so that nobody counts on this
        unit; the renewer and the forwarder go on until the running jobs have ended or were given
        back and Redis has heard of all of them; what only observes ends last.
        """
        background = asyncio.Event()
        admin = Server(self._admin_app(), listener)
        async with asyncio.TaskGroup() as duties:
            self._caller.spawn = duties.create_task
            duties.create_task(admin.serve_until(background))
            duties.create_task(LagMeter().run(background))
            forwarding = duties.create_task(self._forwarder.run(self._claimer.most))
            renewing = run_duty("renew", self._renewer.step, background, self._settings.renew_s)
            duties.create_task(renewing)
            await run_once("take stock", self._take_stock, stop)
            listening = duties.create_task(run_duty("listen", self._listener.step, background))
            probing = duties.create_task(self._prober.run(stop, self._settings.probe_s))
            claiming = [
                duties.create_task(run_duty(name, step, stop, every_s))
                for name, step, every_s in self._claiming_duties()
            ]
            await stop.wait()
            self._claimer.stop()
            # A unit that hangs lets a probe wait for long; Redis answers or fails soon.
            probing.cancel()
            await asyncio.wait(claiming)
            await self._drain()
            background.set()
            listening.cancel()
            forwarding.cancel()
        self._client.close()

    def _claiming_duties(self) -> list[tuple[str, Callable[[], Awaitable[None]], float]]:
        return [
            ("heartbeat", self._heartbeater.step, self._settings.heartbeat_s),
            ("follow the policy", self._bounder.step, self._settings.heartbeat_s),
            ("follow the engine", self._limiter.step, self._settings.slots_interval_s),
            ("reclaim", self._reclaimer.step, _RECLAIM_EVERY_S),
            ("reopen", self._reopen, REOPEN_EVERY_S),
        ]

    def _admin_app(self) -> Starlette:
        return admin_app(lambda: self._claimer.serves, registry=self._registry)

    async def _take_stock(self) -> None:
        """What an earlier dispatcher of this name held goes back before anything is claimed."""
        await self._reclaimer.take_stock("dispatcher restarted", spared=False)

    async def _recover(self) -> None:
        await self._reclaimer.take_stock("claim reply lost", spared=True)

    def _claimed(self, claim: Claim) -> None:
        self._claimer.claimed(claim)
        self._bounder.claimed(claim)
        self._limiter.claimed()
        for steal in self._weigher.stolen(claim):
            self._caller.spawn(self._weigher.follow(steal))

    def _bounds(self) -> Bounds:
        return self._limiter.within(self._bounder.bounds())

    async def _may_claim(self, job_class: JobClass | None, late_s: float) -> bool:
        unit, bounds = self._settings.unit, self._bounds()
        return await self._store.may_claim(unit, job_class, late_s, bounds)

    def _first_byte(self, running: RunningJob) -> None:
        self._bounder.first_byte(running)
        self._limiter.first_byte(running)
        self._weigher.first_byte(running)
        self._claim_if_opened()

    def _claim_if_opened(self) -> None:
        if self._bounder.opened:
            # What the bounds kept out may wait, and nobody else says so.
            self._claimer.wake()

    async def _reopen(self) -> None:
        """Time alone may open the bounds: a prefill is nearly over, or not what holds others up."""
        self._claim_if_opened()

    def _health_changed(self) -> None:
        up = self._health.up
        state = "up" if up else "down"
        log.info("unit %s unit=%s reason=%s", state, self._settings.unit, self._health.reason)
        step = self._come if up else self._leave
        self._caller.spawn(step())

    async def _come(self) -> None:
        try:
            await self._heartbeater.step()
        except RedisUnavailable as outage:
            log.warning("redis away duty=heartbeat error=%s", outage)
        self._claimer.wake()

    async def _leave(self) -> None:
        try:
            await self._store.leave(self._settings.unit)
        except RedisUnavailable as outage:
            log.warning("redis away duty=leave error=%s", outage)

    async def _drain(self) -> None:
        log.info("draining jobs=%s drain_s=%s", len(self._running), self._settings.drain_s)
        await self._leave()
        try:
            async with asyncio.timeout(self._settings.drain_s):
                await self._all_said()
        except TimeoutError:
            self._running.abort_all("drained")
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._all_said()
                await self._leave()
        except TimeoutError:
            log.warning("stopping with Redis away jobs=%s", len(self._running))
            self._running.cancel_all()

    async def _all_said(self) -> None:
        # The turn under way may still bring jobs of a last claim, which go back at once.
        await self._forwarder.sent_all.wait()
        await self._running.empty.wait()
        await self._forwarder.sent_all.wait()
