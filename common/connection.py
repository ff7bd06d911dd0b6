"""The connections to Redis: scripts and blocking reads on pipes, all else on redis-py's clients.

A Cluster has no pipes: its client knows where each call goes. Only this module, `pipe` and
`clients` import `redis`. Whatever says that Redis is away becomes `RedisUnavailable`; everything
else is a mistake of ours and passes through.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from common.clients import BadRedisUrl, close_client, make_client
from common.keys import GROUP
from common.metrics import REDIS_CALL
from common.pipe import Command, Pipes
from common.scripts import Arg, Call, Script, load_scripts

__all__ = ["LONGEST_BLOCK_S", "BadRedisUrl", "Connection", "RedisUnavailable"]

_AWAY = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.TryAgainError,
    # A cluster's slots are on the move, or nobody serves them for now.
    exceptions.ClusterError,
    exceptions.SlotNotCoveredError,
    OSError,
)
_MOVES = (exceptions.MovedError, exceptions.AskError, exceptions.TryAgainError)


LONGEST_BLOCK_S = 5.0
"""Blocking reads ask for less: the client's socket timeout lies so far behind a quick call's."""


_SAYS_AWAY = ("MISCONF", "BUSY ", "UNBLOCKED", "NOREPLICAS")
"""First words of answers that redis-py has no class for: disk full, a slow script, failing over."""

_CLUSTER_AWAY = ("Redis Cluster cannot be connected", "All slots", "startup_nodes could not agree")
"""What redis-py says of a cluster that is away, by the class that also says our own mistakes."""


class RedisUnavailable(Exception):
    """Redis is away, loading, read-only or full: the same call may work later."""


class _Outages:
    """Turns what says that Redis is away into `RedisUnavailable`."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            return
        if isinstance(error, _AWAY) or _says_away(error):
            raise RedisUnavailable(str(error) or type(error).__name__) from error


def _says_away(error: BaseException) -> bool:
    if isinstance(error, exceptions.ResponseError):
        return str(error).startswith(_SAYS_AWAY)
    if isinstance(error, exceptions.RedisClusterException):
        return str(error).startswith(_CLUSTER_AWAY)
    # uvloop's word for a connection that the other side closed before the first write on it.
    return isinstance(error, RuntimeError) and "the handler is closed" in str(error)


def _as_sent(reply: Any, **_: Any) -> Any:
    """What redis-py would make objects of, Redis's own way: as it comes through a pipe."""
    return reply


_outages = _Outages()


class _Timed(_Outages):
    """One quick call: an outage as above, else how long it took."""

    def __init__(self, call: str) -> None:
        self._call = call
        self._begun_s = time.perf_counter()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            REDIS_CALL[self._call].observe(time.perf_counter() - self._begun_s)
        super().__exit__(kind, error, trace)


def _posted(timed: _Timed, replied: "asyncio.Future[list[Any]]") -> list[list[Any]] | None:
    try:
        with timed:
            replies = replied.result()
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
    except (RedisUnavailable, exceptions.RedisError):
        # Who sends them again, and waits, hears what it was.
        return None
    return replies


class Connection:
    """Two clients of one Redis, pipes to it, and the scripts that run there."""

    def __init__(
        self,
        quick: Any,
        blocking: Any,
        scripts: Mapping[str, Script] | None = None,
        pipes: Pipes | None = None,
    ) -> None:
        self._quick = quick
        self._blocking = blocking
        self._pipes = pipes
        if isinstance(blocking, Redis | RedisCluster):
            blocking.set_response_callback("XREAD", cast("Any", _as_sent))
        self.scripts = scripts or load_scripts()
        self._known: set[str] = set()
        self.clustered = isinstance(quick, RedisCluster)

    @classmethod
    def from_url(cls, url: str, timeout_s: float = 5.0) -> Self:
        """Connect lazily. Raises BadRedisUrl when the URL has no known form."""
        quick, blocking = make_client(url, timeout_s), make_client(url, timeout_s + LONGEST_BLOCK_S)
        clustered = isinstance(quick, RedisCluster)
        pipes = None if clustered else Pipes(quick.connection_pool, timeout_s)
        return cls(quick, blocking, pipes=pipes)

    async def run(self, call: Call) -> list[Any]:
        """Run one script. Raises RedisUnavailable; the script may have run all the same."""
        suffix = "_RO" if call.script.reads_only else ""
        with _Timed(call.script.name):
            try:
                reply = await self._script(f"EVALSHA{suffix}", call.script.sha, call)
            except exceptions.NoScriptError:
                reply = await self._script(f"EVAL{suffix}", call.script.text, call)
        self._known.add(call.script.sha)
        return reply

    async def _script(self, command: str, script: str, call: Call) -> list[Any]:
        words = (command, script, *call.arguments)
        if self._pipes is None:
            # A cluster's client knows the keys of EVAL and EVALSHA alone.
            key = str(call.arguments[1])
            to = await self._server_of(key) if call.script.reads_only else {}
            return cast("list[Any]", await self._quick.execute_command(*words, **to))
        (reply,) = await self._pipes.ask([words])
        if isinstance(reply, Exception):
            raise reply
        return cast("list[Any]", reply)

    def post(self, calls: Sequence[Call], done: Callable[[list[list[Any]] | None], None]) -> bool:
        """Send scripts without a task that waits; answers whether a pipe stands ready for it.

        Each relies on those before it having run: these go with their text, as in `run_many`.
        `done` hears their replies, or None: Redis is away or does not know one of them. Then each
        may have run or not.
        """
        pipe = self._pipes.ready if self._pipes else None
        if pipe is None:
            return False
        timed = _Timed(calls[-1].script.name)

        def over(replied: asyncio.Future[list[Any]]) -> None:
            replies = _posted(timed, replied)
            if replies is None:
                self._known.difference_update(call.script.sha for call in calls)
            else:
                self._known.update(call.script.sha for call in calls)
            done(replies)

        pipe.ask(self._commands(calls, len(calls) - 1)).add_done_callback(over)
        return True

    async def run_many(self, calls: Sequence[Call], relied_on: int = 0) -> list[list[Any]]:
        """Run scripts one after the other in one round trip; replies in their order.

        The later calls rely on the first `relied_on` having run. These go with their text, always:
        were one unknown to Redis, a later one would run before it. The others go by their hash once
        they have run.
        """
        if not calls:
            return []
        if len(calls) == 1:
            return [await self.run(calls[0])]
        with _Timed("turn"):
            replies = await self._in_order(self._commands(calls, relied_on))
        self._known.update(call.script.sha for call in calls)
        return [await self._settle(call, reply) for call, reply in zip(calls, replies, strict=True)]

    def _commands(self, calls: Sequence[Call], relied_on: int) -> list[Command]:
        """What to send for scripts that run one after the other; see `run_many`."""
        commands: list[Command] = []
        sent: set[str] = set()
        for place, call in enumerate(calls):
            sha = call.script.sha
            known = place >= relied_on and (sha in self._known or sha in sent)
            script = ("EVALSHA", sha) if known else ("EVAL", call.script.text)
            commands.append((*script, *call.arguments))
            sent.add(sha)
        return commands

    async def _in_order(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to all, in their order, or RedisUnavailable.

        A cluster's client would send again, one by one, what met a slot on the move: a call that it
        gives up would let those behind it run first.
        """
        if self._pipes:
            return await self._pipes.ask(commands)
        pipeline = self._quick.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        if not self.clustered:
            return cast("list[Any]", await pipeline.execute(raise_on_error=False))
        replies = await pipeline.execute(raise_on_error=False, allow_redirections=False)
        moves = [reply for reply in replies if isinstance(reply, _MOVES)]
        for move in moves:
            if isinstance(move, exceptions.MovedError):
                await self._quick.nodes_manager.move_slot(move)
        if moves:
            raise RedisUnavailable(f"the pool's slot moves: {moves[0]}")
        return cast("list[Any]", replies)

    async def _settle(self, call: Call, reply: Any) -> list[Any]:
        if isinstance(reply, exceptions.NoScriptError):
            self._known.discard(call.script.sha)
            return await self.run(call)
        if isinstance(reply, Exception):
            with _outages:
                raise reply
        return cast("list[Any]", reply)

    async def command(self, *args: Arg) -> Any:
        """One quick command; the reply as redis-py parses it."""
        with _Timed("command"):
            return await self._quick.execute_command(*args)

    async def commands(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        """Quick commands in one round trip; a TIME among them is that of the others' server."""
        if not commands:
            return []
        with _Timed("commands"):
            pipeline = self._quick.pipeline(transaction=False)
            for args in commands:
                to = await self._server_of(str(commands[0][1])) if args[0] == "TIME" else {}
                pipeline.execute_command(*args, **to)
            replies: list[Any] = await pipeline.execute()
            return replies

    async def time(self, key: str) -> Any:
        """The clock of the server that holds a key."""
        with _Timed("command"):
            return await self._quick.execute_command("TIME", **await self._server_of(key))

    async def _server_of(self, key: str) -> dict[str, Any]:
        """Where a command without a key is to go; a cluster has as many clocks as servers."""
        if not self.clustered:
            return {}
        await self._quick.initialize()
        return {"target_nodes": self._quick.get_node_from_key(key)}

    async def block(self, *args: Arg) -> Any:
        """One blocking read of at most `LONGEST_BLOCK_S`; it takes a connection of its own.

        Its reply is as Redis sent it.
        """
        with _outages:
            if self._pipes:
                return await self._pipes.block(args, LONGEST_BLOCK_S)
            return await self._blocking.execute_command(*args)

    async def make_group(self, stream: str) -> None:
        """Make the group `units` at the stream's start; no harm when it is there."""
        with _outages:
            try:
                await self._quick.xgroup_create(stream, GROUP, "0", mkstream=True)
            except exceptions.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def aclose(self) -> None:
        if self._pipes:
            self._pipes.close()
        await close_client(self._quick)
        await close_client(self._blocking)
