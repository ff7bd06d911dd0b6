"""Sockets and signals of one unit: listen, refuse for a while, end promptly."""

import asyncio
import logging
import signal
import socket
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from simulator.app import App
from simulator.settings import Settings
from simulator.unit import Unit

_BACKLOG = 2048


class Listener:
    """The listening socket and the connections it has brought."""

    def __init__(self, host: str, port: int) -> None:
        """Raises OSError when the port is taken."""
        self._address = (host, port)
        self._socket = self._bind()
        self._address = (host, self._socket.getsockname()[1])
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._config: Config | None = None
        self._reopening: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        host, port = self._address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def open(self, app: App) -> None:
        self._config = Config(
            app, log_config=None, access_log=False, lifespan="off", server_header=True,
            date_header=False, timeout_keep_alive=5, ws="none",
        )  # fmt: skip
        self._config.load()
        self._state.default_headers = self._config.encoded_headers
        await self._listen()

    def drop(self, client: Any) -> None:
        """Cuts the connection that comes from there, with no answer."""
        for connection in list(self._state.connections):
            if isinstance(connection, HttpToolsProtocol) and connection.client == client:
                connection.transport.abort()

    def refuse(self, seconds: float) -> None:
        """New connections are refused for so long; those that stand stay."""
        if self._reopening is not None:
            self._reopening.cancel()
        self._close_socket()
        self._reopening = asyncio.create_task(self._reopen_after(seconds))

    def close(self) -> None:
        """At once: open answers are cut, as by a process that dies."""
        if self._reopening is not None:
            self._reopening.cancel()
        self._close_socket()
        for connection in list(self._state.connections):
            connection.transport.abort()

    async def _reopen_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._socket = self._bind()
        await self._listen()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connection, sock=self._socket, backlog=_BACKLOG
        )

    def _connection(self) -> HttpToolsProtocol:
        assert self._config is not None  # noqa: S101 - `open` sets it before anybody connects
        return HttpToolsProtocol(self._config, self._state, {})

    def _close_socket(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._socket.close()

    def _bind(self) -> socket.socket:
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
            # Listening here, not in the event loop, lets a taken port show before anything starts.
            bound.listen(_BACKLOG)
        except OSError:
            bound.close()
            raise
        bound.setblocking(False)  # noqa: FBT003 - the standard library's signature
        return bound


async def serve(settings: Settings, listener: Listener) -> None:
    """Until SIGTERM or SIGINT."""
    # An answer that a fault cuts is no error of the server, yet uvicorn would report it as one.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    unit = Unit(settings, drop=listener.drop, refuse=listener.refuse)
    for fault in settings.faults:
        unit.set_fault(fault)
    driving = asyncio.create_task(unit.driver.run())
    # A driver that fails must end the process: a unit that only answers /health would deceive.
    driving.add_done_callback(lambda _: stop.set())
    await listener.open(App(unit))
    print(f"simulator: {settings.model} on {listener.url}, speed {settings.speed:g}", flush=True)  # noqa: T201 - says where it is, for whoever started it
    await stop.wait()
    listener.close()
    if driving.done():
        driving.result()
    driving.cancel()
