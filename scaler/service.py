"""Starts and stops a scaler's duties.

All stop together; the leadership is given up as soon as its own duty ends. A decision that is still
on its way is then refused by the script that flips, so the order of the others does not matter. The
connection closes last.
"""

import asyncio
import logging
import socket

from common.connection import Connection
from common.lag import LagMeter
from common.memory import settle
from common.server import Server, admin_app, stop_on_signals
from common.store import Store
from common.version import check_version
from common.views import Views
from scaler.flipper import Flipper
from scaler.leader import Leader
from scaler.settings import ScalerSettings
from scaler.watcher import Watcher

log = logging.getLogger(__name__)

_DRAIN_S = 1.0


async def serve(settings: ScalerSettings, listener: socket.socket, scaler: str) -> None:
    """Scale until SIGTERM or SIGINT, as soon as there is a Redis."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    connection = Connection.from_url(settings.redis_url, settings.redis_timeout_s)
    try:
        await check_version(connection)
        store, views = Store(connection, settings), Views(connection, settings)
        leader = Leader(store, settings, scaler)
        flipper = Flipper(store, views, settings, scaler, leader)
        pages = {"/state": lambda: {"scaler": scaler, "leader": leader.leader}}
        server = Server(admin_app(lambda: leader.in_touch, pages), listener, _DRAIN_S)
        settle()
        log.info("started scaler=%s pool=%s", scaler, settings.pool)
        async with asyncio.TaskGroup() as duties:
            duties.create_task(leader.run(stop))
            duties.create_task(LagMeter().run(stop))
            duties.create_task(flipper.run(stop))
            duties.create_task(Watcher(views, settings, leader).run(stop))
            duties.create_task(server.serve_until(stop))
    finally:
        await connection.aclose()
