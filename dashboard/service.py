"""Starts and stops a dashboard's duties.

All stop together: nobody relies on a dashboard. The reviver leaves the pool, which cancels what
it ran again; RQ's own server and the connection go last.
"""

import asyncio
import logging
import socket
from contextlib import AsyncExitStack

from starlette.routing import BaseRoute

from common.connection import Connection
from common.dead import DeadLetters
from common.inspection import Inspection
from common.lag import LagMeter
from common.server import Server, stop_on_signals
from common.store import Store
from common.version import check_version
from common.views import Views
from dashboard.access import Access
from dashboard.app import create_app
from dashboard.history import History
from dashboard.live import Live
from dashboard.presses import Presses
from dashboard.projector import Projector
from dashboard.reader import Reader
from dashboard.reviver import Reviver
from dashboard.rq_pages import rq_routes
from dashboard.rq_store import NoStore, connect, private_store
from dashboard.rq_writer import RqWriter
from dashboard.settings import DashboardSettings

log = logging.getLogger(__name__)

_DRAIN_S = 1.0


async def serve(settings: DashboardSettings, listener: socket.socket) -> None:
    """Show the pool until SIGTERM or SIGINT, also while there is no Redis. Raises OldRedis."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    key = settings.dashboard_key.get_secret_value()
    if not key and not settings.on_loopback:
        log.warning("listens for everybody without a key host=%s", settings.dashboard_host)
    async with AsyncExitStack() as stack:
        connection = Connection.from_url(settings.redis_url, settings.redis_timeout_s)
        stack.push_async_callback(connection.aclose)
        await check_version(connection)
        dashboard = _Dashboard(settings, connection)
        routes = await dashboard.rq_routes(stack)
        live = Live(dashboard.history, settings, rq=bool(routes))
        app = create_app(dashboard.history, live, routes)
        door = Access(app, key, presses=bool(key) or settings.on_loopback)
        server = Server(door, listener, _DRAIN_S)
        log.info("started pool=%s at=%s:%d", settings.pool, *listener.getsockname()[:2])
        async with asyncio.TaskGroup() as duties:
            duties.create_task(dashboard.reader.run(stop))
            duties.create_task(dashboard.reviver.run(stop))
            duties.create_task(LagMeter().run(stop))
            duties.create_task(server.serve_until(stop))


class _Dashboard:
    """One dashboard's parts, wired."""

    def __init__(self, settings: DashboardSettings, connection: Connection) -> None:
        self._settings = settings
        self._store = Store(connection, settings)
        self._views = Views(connection, settings)
        self._inspection = Inspection(connection, settings)
        self._dead = DeadLetters(connection, settings)
        self.history = History(settings)
        self.reader = Reader(self._views, self._inspection, self.history, settings)
        self.reviver = Reviver(self._store, self._views, self._dead, settings)

    async def rq_routes(self, stack: AsyncExitStack) -> list[BaseRoute]:
        """The routes of rq-dashboard; none when it is not wanted or does not start."""
        if not self._settings.dashboard_rq_jobs:
            return []
        try:
            store_url = await stack.enter_async_context(private_store())
        except (NoStore, OSError):
            # The live page is worth having alone.
            log.exception("no rq-dashboard")
            return []
        writer = RqWriter(connect(store_url))
        happenings = self.history.happenings
        projector = Projector(self._views, self._inspection, happenings, writer, self._settings)
        presses = Presses(
            self._store, self._views, self._inspection, self._dead, self.reviver, projector,
            self._settings,
        )  # fmt: skip
        return rq_routes(projector, presses, store_url)
