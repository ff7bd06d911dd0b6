"""Serving HTTP inside a process that has other duties, and the small pages all processes have."""

import asyncio
import ipaddress
import logging
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

log = logging.getLogger(__name__)

_FIRST_REQUEST_S = 1.0
"""How long somebody who is connected may take to send a request while the server stops."""

_LOOK_EVERY_S = 0.01


class PortTaken(Exception):
    """The address that a process is to listen on is in use."""


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket; `shared` lets several processes of one kind listen on the same port.

    Raises PortTaken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.setblocking(False)  # noqa: FBT003  # the standard library's own signature
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process decides when it stops."""

    def __init__(
        self,
        app: Any,
        listener: socket.socket,
        drain_s: float = 5.0,
        protocol: Any = "httptools",
        keep_alive_s: float = 75.0,
    ) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            loop="none",
            http=protocol,
            ws="none",
            # Who a client says that it is counts for nothing here.
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=max(1, round(drain_s)),
            timeout_keep_alive=round(keep_alive_s),
        )
        super().__init__(config)
        self._listener = listener
        self._stop = asyncio.Event()

    async def main_loop(self) -> None:
        """Until `stop`; uvicorn's own wakes ten times a second to look whether it is to go."""
        await self.on_tick(0)
        await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting without a reset for those who are connected already, then finish.

        Whom the kernel has connected is taken in first: closing a listener resets them. They, too,
        may send their request before the connections without one are closed.
        """
        while _has_callers(self._listener):  # noqa: ASYNC110  # the loop accepts them meanwhile
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        self._listener.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_REQUEST_S):
                while self._silent_connections():  # noqa: ASYNC110  # uvicorn sets no event of it
                    await asyncio.sleep(_LOOK_EVERY_S)
        await super().shutdown(sockets)

    def _silent_connections(self) -> bool:
        connections = self.server_state.connections
        return any(getattr(one, "cycle", one) is None for one in connections)

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then finish what is open."""
        self._stop = stop
        await self._serve(sockets=[self._listener])


def _has_callers(listener: socket.socket) -> bool:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def admin_app(
    ready: Callable[[], bool],
    extra: dict[str, Callable[[], Any]] | None = None,
    registry: CollectorRegistry = REGISTRY,
) -> Starlette:
    """`/healthz`, `/readyz` and `/metrics`; `extra` gives JSON pages."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        if ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, status_code=503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    for path, page in (extra or {}).items():

        async def answer(_: Request, page: Callable[[], Any] = page) -> Response:
            return JSONResponse(page())

        routes.append(Route(path, answer))
    return Starlette(routes=routes)


def start_logging(level: str, settings: str) -> None:
    """Plain lines on standard error: time, level, who, what; the first, at debug, the settings."""
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    log.debug("starts with settings %s", settings)


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT, in the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
