"""Serving HTTP inside a process that has other duties, and the small pages all processes have."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

log = logging.getLogger(__name__)


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


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process decides when it stops."""

    def __init__(self, app: Any, listener: socket.socket, drain_s: float = 5.0) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            loop="none",
            http="httptools",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=max(1, round(drain_s)),
            timeout_keep_alive=75,
        )
        super().__init__(config)
        self._listener = listener

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then finish what is open."""
        serving = asyncio.create_task(self._serve(sockets=[self._listener]))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        self.should_exit = True
        await serving


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


def start_logging(level: str) -> None:
    """Plain lines on standard error: time, level, who, what."""
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT, in the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
