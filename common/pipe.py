"""Calls on connections that redis-py made, without the pool, locks and events of its calls.

redis-py connects: TLS, passwords and Sentinel are its affair. From then on the commands of all
callers leave together, once in each turn of the event loop, and replies are parsed where they are
read: a call costs a third of the CPU (docs/benchmarks.md).
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis
from redis import exceptions
from redis._parsers import BaseParser  # what its own connections name errors by
from redis.asyncio.connection import AbstractConnection, ConnectionPool

from common.packing import packed
from common.scripts import Arg

Command = Sequence[Arg]


class _Call:
    """So many replies that somebody waits for."""

    __slots__ = ("asked_s", "done", "number", "replies")

    def __init__(self, number: int, asked_s: float, done: "asyncio.Future[list[Any]]") -> None:
        self.number = number
        self.asked_s = asked_s
        self.done = done
        self.replies: list[Any] = []


class Pipe(asyncio.Protocol):
    """One connection. Replies come in the order of the commands, also to calls given up."""

    def __init__(self, connection: AbstractConnection, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._reader = hiredis.Reader(
            protocolError=exceptions.InvalidResponse, replyError=BaseParser.parse_error
        )
        self._calls: deque[_Call] = deque()
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self.closed = False
        # The handshake is over; a server of RESP2 says nothing unasked that could be lost here.
        self._writer, connection._writer, connection._reader = connection._writer, None, None  # noqa: SLF001  # no other way to it
        self._transport = cast("asyncio.Transport", cast("Any", self._writer).transport)
        self._transport.set_protocol(self)

    def ask(self, commands: Sequence[Command]) -> "asyncio.Future[list[Any]]":
        """Send commands; the future holds their replies, errors among them as what they are."""
        done: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.closed:
            # Lost after it was made, before whoever waited for it came to ask.
            done.set_exception(exceptions.ConnectionError("connection lost"))
            return done
        if not self._out:
            self._loop.call_soon(self._send)
        for command in commands:
            self._out += packed(tuple(command))
        self._calls.append(_Call(len(commands), self._loop.time(), done))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._look)
        return done

    def close(self, error: Exception | None = None) -> None:
        """Hang up. Who waits for a reply gets this error."""
        if self.closed:
            return
        self.closed = True
        if self._timer:
            self._timer.cancel()
        for call in self._calls:
            if not call.done.done():
                call.done.set_exception(error or exceptions.ConnectionError("connection closed"))
        self._calls.clear()
        self._transport.abort()

    # asyncio tells

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except exceptions.InvalidResponse as error:
            self.close(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(exceptions.ConnectionError(f"connection lost: {exc or 'closed by the server'}"))

    def _take(self, reply: Any) -> None:
        if not self._calls:
            self.close()
            return
        call = self._calls[0]
        call.replies.append(reply)
        if len(call.replies) == call.number:
            self._calls.popleft()
            if not call.done.done():
                call.done.set_result(call.replies)
        if isinstance(reply, exceptions.ReadOnlyError):
            # The server was made a replica: the next connection finds the new primary.
            self.close(reply)

    def _send(self) -> None:
        out, self._out = self._out, []
        if not self.closed:
            self._transport.writelines(out)

    def _look(self) -> None:
        self._timer = None
        if not self._calls:
            return
        left_s = self._calls[0].asked_s + self._timeout_s - self._loop.time()
        if left_s <= 0:
            self.close(exceptions.TimeoutError("no reply in time"))
        else:
            self._timer = self._loop.call_later(left_s, self._look)


class Pipes:
    """The pipes to one server: one for all quick calls, and one for each blocking read."""

    def __init__(self, pool: ConnectionPool, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._pipe: Pipe | None = None
        self._connecting: asyncio.Task[Pipe] | None = None
        self._blocking: list[Pipe] = []

    @property
    def ready(self) -> Pipe | None:
        """The pipe for quick calls, when it stands."""
        return None if self._pipe is None or self._pipe.closed else self._pipe

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Replies to quick commands, errors among them. Raises what redis-py raises."""
        pipe = self.ready or await self._connected()
        return await pipe.ask(commands)

    async def block(self, command: Command, longest_s: float) -> Any:
        """The reply to a command that waits on the server, for at most so long."""
        while self._blocking and self._blocking[-1].closed:
            self._blocking.pop()
        pipe = self._blocking.pop() if self._blocking else await self._new(longest_s)
        try:
            (reply,) = await pipe.ask([command])
        except BaseException:
            # What it may bring yet would be lost: the server is to see that nobody waits.
            pipe.close()
            raise
        self._blocking.append(pipe)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        if self._connecting:
            self._connecting.cancel()
        for pipe in (self._pipe, *self._blocking):
            if pipe:
                pipe.close()

    async def _connected(self) -> Pipe:
        """A new pipe, for all who ask meanwhile; one who gives up leaves it to the others."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._new(0.0))
            self._connecting.add_done_callback(self._is_connected)
        return await asyncio.shield(self._connecting)

    def _is_connected(self, task: "asyncio.Task[Pipe]") -> None:
        self._connecting = None
        if not task.cancelled() and not task.exception():
            self._pipe = task.result()

    async def _new(self, longest_s: float) -> Pipe:
        connection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # untyped upstream
        await connection.connect()
        return Pipe(connection, self._timeout_s + longest_s)
