"""A proxy before Redis that knows which script a call is of, and cuts or calls at that point."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import hiredis

from common.scripts import load_scripts

Moment = Literal["before", "after"]
"""Before the call reaches Redis, or after Redis has run it and before its reply is passed on."""

_NAMES = {
    key: script.name
    for script in load_scripts().values()
    for key in (script.sha.encode(), script.text.encode())
}
_SCRIPTS = {b"EVALSHA", b"EVAL"}


@dataclass
class Trap:
    """Springs once, at a call of a script that holds `needs`: `act` runs, the connection is cut.

    `skip`: how many such calls pass before. `sprung` is set when `act` is done.
    """

    script: str
    moment: Moment
    act: Callable[[], Awaitable[None]] | None = None
    needs: bytes = b""
    skip: int = 0
    taken: bool = False
    sprung: asyncio.Event = field(default_factory=asyncio.Event)

    def fits(self, call: list[Any]) -> bool:
        if self.taken or self.script != _script(call):
            return False
        if self.needs and not any(self.needs in part for part in call if isinstance(part, bytes)):
            return False
        self.skip -= 1
        self.taken = self.skip < 0
        return self.taken


def _script(call: list[Any]) -> str:
    if call[0] not in _SCRIPTS:
        return ""
    return _NAMES.get(call[1], "")


class Proxy:
    """Passes commands on one by one; at most one trap is set at a time."""

    def __init__(self, redis_port: int) -> None:
        self._redis_port = redis_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.trap: Trap | None = None
        self.port = 0

    @classmethod
    async def listening(cls, redis_port: int) -> "Proxy":
        proxy = cls(redis_port)
        proxy._server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.port = proxy._server.sockets[0].getsockname()[1]
        return proxy

    def spring(self, trap: Trap) -> "asyncio.Task[None]":
        async def act() -> None:
            if trap.act:
                await trap.act()
            trap.sprung.set()

        task = asyncio.create_task(act())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._join(reader, writer)
        writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_redis = await asyncio.open_connection("127.0.0.1", self._redis_port)
        link = _Link(self, (reader, writer), to_redis)
        ways = [asyncio.create_task(link.up()), asyncio.create_task(link.down())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to_redis[1].close()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One client's connection and the one to Redis behind it."""

    def __init__(self, proxy: Proxy, client: Streams, redis: Streams) -> None:
        self._proxy = proxy
        self._client = client
        self._redis = redis
        self._springing: Trap | None = None

    async def up(self) -> None:
        calls = hiredis.Reader()
        while received := await self._client[0].read(65536):
            calls.feed(received)
            while (call := calls.gets()) is not False:
                trap = self._proxy.trap
                if trap and trap.fits(call):
                    self._springing = trap
                    if trap.moment == "before":
                        await self._redis[1].drain()
                        await self._spring(trap)
                        return
                self._redis[1].write(hiredis.pack_command(tuple(call)))
            await self._redis[1].drain()

    async def down(self) -> None:
        while received := await self._redis[0].read(65536):
            trap = self._springing
            if trap and trap.moment == "after":
                await self._spring(trap)
                return
            self._client[1].write(received)
            await self._client[1].drain()

    async def _spring(self, trap: Trap) -> None:
        # What it kills closes this connection, and with it ends who waits here.
        await asyncio.shield(self._proxy.spring(trap))
