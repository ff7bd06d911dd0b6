"""Starts and stops a baseline: first its door closes, then what is open ends."""

import asyncio
import logging
import socket
from collections.abc import Mapping

from baseline.app import Pages, create_app
from baseline.completions import Completions
from baseline.metrics import Metrics
from baseline.pool import Policy, Unit
from baseline.queues import Queues
from baseline.relay import Units, open_session
from baseline.settings import BaselineSettings
from baseline.turns import Turns
from common.keys import CLASSES, JobClass
from common.server import Server, stop_on_signals

log = logging.getLogger(__name__)


async def serve(
    settings: BaselineSettings, policy: Policy, urls: Mapping[str, str], listener: socket.socket
) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    await run(settings, policy, urls, listener, stop)


async def run(
    settings: BaselineSettings,
    policy: Policy,
    urls: Mapping[str, str],
    listener: socket.socket,
    stop: asyncio.Event,
) -> None:
    """Serve until `stop`."""
    limits = {name: settings.limit(name) for name in CLASSES}
    slots = [Unit(name, limits["short"], limits["long"]) for name in urls]
    depths: dict[JobClass, int] = {
        "short": settings.max_queue_depth_short,
        "long": settings.max_queue_depth_long,
    }
    turns = Turns(Queues(policy, slots, depths))
    metrics = Metrics(turns.queues)
    async with open_session(settings.unit_api_key, settings.connect_timeout_s) as session:
        units = Units(urls, session)
        completions = Completions(settings, turns, units, metrics)
        app = create_app(completions, Pages(policy, turns, units, metrics))
        log.info("started policy=%s units=%d", type(policy).__name__, len(urls))
        await Server(app, listener, settings.drain_s).serve_until(stop)
    log.info("stopped")
