"""Starts and stops a gateway's duties.

Order of stopping: first the door and the open answers, for which all duties still run; those that
are left after drain_s get an error; then what they leave is cancelled; then the duties end, and at
last the reply stream goes, which tells the pool that nobody listens here any more.
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from starlette.types import ASGIApp
from tokenizers import Tokenizer

from common.connection import Connection, RedisUnavailable
from common.lag import LagMeter
from common.memory import settle
from common.server import Server, stop_on_signals
from common.standing import Standings
from common.store import Store
from common.traced import start_tracing
from common.version import check_version
from common.views import Views
from gateway.admission import Admission
from gateway.answers import Answers
from gateway.app import create_app
from gateway.canceller import Canceller
from gateway.checker import Checker
from gateway.completions import completion_routes
from gateway.estimator import Estimator
from gateway.evictor import Evictor
from gateway.heartbeater import Heartbeater
from gateway.jobs import Jobs
from gateway.keyring import KeyRing
from gateway.keys import KeyGate
from gateway.leaving import Leaving
from gateway.mailbox import Mailboxes
from gateway.metrics import Metrics
from gateway.protocol import BoundedProtocol, WireBounds
from gateway.reads import in_small_reads
from gateway.receiver import Receiver
from gateway.recoverer import Recoverer
from gateway.settings import GatewaySettings
from gateway.submitter import Submitter
from gateway.tokens import TokenCounter
from gateway.traced import Traced
from gateway.watcher import Watcher

if TYPE_CHECKING:
    from common.tracing import Tracing

log = logging.getLogger(__name__)

_LAST_WORDS_S = 5.0
"""How long answers may take to say that they were ended, and their jobs to be cancelled."""


async def serve(
    settings: GatewaySettings, listener: socket.socket, tokenizer: Tokenizer | None
) -> None:
    """Serve until SIGTERM or SIGINT, also while there is no Redis yet."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    connection = Connection.from_url(settings.redis_url, settings.redis_timeout_s)
    tracing = start_tracing(settings, "gateway")
    try:
        await check_version(connection)
        gateway = Gateway(settings, connection, tokenizer, tracing)
        settle()
        await gateway.run(listener, stop)
    finally:
        await connection.aclose()
        if tracing:
            await asyncio.to_thread(tracing.close)


class Duty(Protocol):
    """What runs beside the answers until it is told to stop."""

    async def run(self, stop: asyncio.Event) -> None: ...


class Gateway:
    """One gateway: its parts, wired."""

    def __init__(
        self,
        settings: GatewaySettings,
        connection: Connection,
        tokenizer: Tokenizer | None,
        tracing: "Tracing | None" = None,
    ) -> None:
        self.id = f"gw-{secrets.token_hex(6)}"
        self._settings = settings
        self._tracing = tracing
        self._store = Store(connection, settings)
        self._views = Views(connection, settings)
        self._counter = TokenCounter(settings.bytes_per_token, tokenizer)
        self._mailboxes = Mailboxes(settings.max_unsent_bytes)
        self._canceller = Canceller(self._store, self.id)
        self._watcher = Watcher(self._views, settings, settings.watch_s, settings.alive_s)
        self._metrics = Metrics(settings.pool, self._mailboxes, self._watcher, self._counter)
        self._heartbeater = Heartbeater(self._store, self.id, settings.heartbeat_s)
        self._receiver = Receiver(
            self._store, self.id, self._mailboxes, self._watcher, settings.trim_s
        )
        self._standings = Standings(connection, settings, settings.shares().weight)
        self._estimator = Estimator(self._watcher, settings.priority_step_s)
        self._checker = Checker(
            self._standings, self._estimator, self._mailboxes, self._metrics, settings.watch_s
        )
        self._submitter = Submitter(
            self._store,
            self._canceller,
            self._watcher,
            self._estimator,
            settings.redis_patience_s,
        )
        self._admission = Admission(settings, self.id, self._counter, self._watcher)
        self._keys = KeyRing(*settings.key_sources)
        self._evictor = Evictor(self._mailboxes, settings.client_stall_s)
        self._recoverer = Recoverer(
            self._views,
            self._mailboxes,
            self._submitter,
            self._canceller,
            self._receiver,
            self._metrics,
            settings.recover_s,
        )

    async def run(self, listener: socket.socket, stop: asyncio.Event) -> None:
        settings = self._settings
        await self._look_first()
        server = Server(
            Leaving(self._door(stop), stop),
            listener,
            settings.drain_s + _LAST_WORDS_S,
            in_small_reads(partial(BoundedProtocol, self._wire_bounds())),
            settings.keep_alive_s,
        )
        host, port = listener.getsockname()[:2]
        log.info("started gateway=%s pool=%s at=%s:%d", self.id, settings.pool, host, port)
        closing, ended = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(duty.run(ended)) for duty in self._duties()]
            tasks.append(group.create_task(self._leave(stop, closing)))
            await server.serve_until(closing)
            await self._canceller.flush(_LAST_WORDS_S)
            ended.set()
            # Some wait in a blocking read; nothing that they could still read is wanted.
            for task in tasks:
                task.cancel()
        with suppress(RedisUnavailable):
            await self._store.forget(self.id)
        log.info("stopped gateway=%s", self.id)

    async def _look_first(self) -> None:
        """See the pool before the first request comes, if it can be seen."""
        try:
            await self._heartbeater.beat()
            await self._watcher.look()
        except RedisUnavailable as outage:
            log.warning("starting with redis away error=%s", outage)

    def _duties(self) -> tuple[Duty, ...]:
        return (
            self._heartbeater,
            LagMeter(),
            self._watcher,
            self._checker,
            self._receiver,
            self._canceller,
            self._recoverer,
            self._evictor,
            self._keys,
        )

    def _wire_bounds(self) -> WireBounds:
        settings = self._settings
        return WireBounds(
            max_connections=settings.max_connections,
            max_head_bytes=settings.max_head_bytes,
            head_timeout_s=settings.head_timeout_s,
            body_timeout_s=settings.body_timeout_s,
            # First the evictor ends an answer in good order.
            stall_s=settings.client_stall_s + _LAST_WORDS_S,
            refused=partial(self._metrics.failed, None),
        )

    def _door(self, stop: asyncio.Event) -> KeyGate:
        answers = Answers(
            self._mailboxes,
            self._submitter,
            self._canceller,
            self._counter,
            self._metrics,
            self._checker,
        )
        completions = completion_routes(self._admission, answers)
        if self._tracing:
            completions = {
                route: Traced(app, route, self._tracing) for route, app in completions.items()
            }
        return KeyGate(
            self._app(completions, stop),
            completions,
            self._keys,
            partial(self._metrics.failed, None),
            anonymous=self._settings.allow_anonymous,
        )

    def _app(self, completions: Mapping[str, ASGIApp], stop: asyncio.Event) -> ASGIApp:
        return create_app(
            self._settings,
            completions,
            self._metrics,
            self._watcher,
            self._views,
            Jobs(self._store, self._views, self._standings, self._estimator),
            lambda: self._watcher.fresh and bool(self._watcher.live_units) and not stop.is_set(),
        )

    async def _leave(self, stop: asyncio.Event, closing: asyncio.Event) -> None:
        """First not ready, then no new connections, then no time for open answers either."""
        await stop.wait()
        await asyncio.sleep(self._settings.linger_s)
        closing.set()
        await asyncio.sleep(self._settings.drain_s)
        self._mailboxes.shut_all("stopping")
