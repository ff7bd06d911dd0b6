"""The connections to Redis: one client for quick calls, one for blocking reads, scripts on both.

The only module that imports `redis`. Whatever says that Redis is away becomes `RedisUnavailable`;
everything else is a mistake of ours and passes through.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self, cast
from urllib.parse import unquote, urlsplit

import hiredis
from redis import exceptions
from redis.asyncio import Connection as RedisConnection
from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from common.keys import GROUP
from common.metrics import REDIS_CALL
from common.scripts import Arg, Call, Script, load_scripts

_AWAY = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.TryAgainError,
    OSError,
)


LONGEST_BLOCK_S = 5.0
"""Blocking reads ask for less: the client's socket timeout lies so far behind a quick call's."""


_SAYS_AWAY = ("MISCONF", "BUSY ", "UNBLOCKED", "NOREPLICAS")
"""First words of answers that redis-py has no class for: disk full, a slow script, failing over."""


class RedisUnavailable(Exception):
    """Redis is away, loading, read-only or full: the same call may work later."""


class BadRedisUrl(ValueError):
    """A Redis URL of no known form."""


class _Outages:
    """Turns what says that Redis is away into `RedisUnavailable`."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            return
        said = str(error) if isinstance(error, exceptions.ResponseError) else ""
        if isinstance(error, _AWAY) or said.startswith(_SAYS_AWAY) or _is_closed(error):
            raise RedisUnavailable(str(error) or type(error).__name__) from error


def _is_closed(error: BaseException | None) -> bool:
    # uvloop's word for a connection that the other side closed before the first write on it.
    return isinstance(error, RuntimeError) and "the handler is closed" in str(error)


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


class _Packed(RedisConnection):
    """A connection whose commands are packed in C: redis-py does so only in its synchronous one."""

    def pack_command(self, *args: Any) -> list[bytes]:
        # redis-py writes some commands as two words in one.
        return [hiredis.pack_command((*args[0].split(" "), *args[1:]))]


class Connection:
    """Two clients of one Redis, and the scripts that run there."""

    def __init__(
        self, quick: Any, blocking: Any, scripts: Mapping[str, Script] | None = None
    ) -> None:
        self._quick = quick
        self._blocking = blocking
        self.scripts = scripts or load_scripts()
        self._known: set[str] = set()

    @classmethod
    def from_url(cls, url: str, timeout_s: float = 5.0) -> Self:
        """Connect lazily. Raises BadRedisUrl when the URL has no known form."""
        return cls(_client(url, timeout_s), _client(url, timeout_s + LONGEST_BLOCK_S))

    async def run(self, call: Call) -> list[Any]:
        """Run one script. Raises RedisUnavailable; the script may have run all the same."""
        with _Timed(call.script.name):
            try:
                reply = await self._quick.execute_command(
                    "EVALSHA", call.script.sha, *call.arguments
                )
            except exceptions.NoScriptError:
                reply = await self._quick.execute_command("EVAL", call.script.text, *call.arguments)
        return cast("list[Any]", reply)

    async def run_many(self, calls: Sequence[Call], relied_on: int = 0) -> list[list[Any]]:
        """Run scripts one after the other in one round trip; replies in their order.

        The later calls rely on the first `relied_on` having run. These go with their text, always:
        were one unknown to Redis, a later one would run before it. The others do so once.
        """
        if not calls:
            return []
        if len(calls) == 1:
            return [await self.run(calls[0])]
        with _Timed("turn"):
            pipeline = self._quick.pipeline(transaction=False)
            sent: set[str] = set()
            for place, call in enumerate(calls):
                trusted = place >= relied_on and call.script.sha in self._known
                if not trusted and call.script.sha not in sent:
                    pipeline.execute_command("EVAL", call.script.text, *call.arguments)
                else:
                    pipeline.execute_command("EVALSHA", call.script.sha, *call.arguments)
                sent.add(call.script.sha)
            replies = await pipeline.execute(raise_on_error=False)
        self._known |= sent
        return [await self._settle(call, reply) for call, reply in zip(calls, replies, strict=True)]

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
        """Quick commands in one round trip."""
        if not commands:
            return []
        with _Timed("commands"):
            pipeline = self._quick.pipeline(transaction=False)
            for args in commands:
                pipeline.execute_command(*args)
            replies: list[Any] = await pipeline.execute()
            return replies

    async def block(self, *args: Arg) -> Any:
        """One blocking read of at most `LONGEST_BLOCK_S`; it takes a connection of its own."""
        with _outages:
            return await self._blocking.execute_command(*args)

    async def groups(self, stream: str) -> list[dict[str, Any]]:
        """The consumer groups of a stream; none when there is no such stream."""
        with _outages:
            try:
                groups: list[dict[str, Any]] = await self._quick.xinfo_groups(stream)
            except exceptions.ResponseError as error:
                if "no such key" in str(error):
                    return []
                raise
        return groups

    async def added(self, stream: str) -> int:
        """How many entries were ever added to a stream that exists."""
        with _outages:
            about: dict[str, Any] = await self._quick.xinfo_stream(stream)
        return int(about.get("entries-added", 0))

    async def make_group(self, stream: str) -> None:
        """Make the group `units` at the stream's start; no harm when it is there."""
        with _outages:
            try:
                await self._quick.xgroup_create(stream, GROUP, "0", mkstream=True)
            except exceptions.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def aclose(self) -> None:
        await self._quick.aclose()
        await self._blocking.aclose()


def _client(url: str, timeout_s: float) -> Any:
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        # One lost reply must not run a script twice: who calls decides what may be repeated.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        # Who calls bounds how many calls there are at a time; the pool is not to refuse one.
        "max_connections": 10_000,
    }
    makers: dict[str, Callable[..., Any]] = {
        "redis": partial(Redis.from_url, connection_class=_Packed),
        "rediss": Redis.from_url,
        "unix": Redis.from_url,
        "redis+sentinel": _sentinel_client,
        "redis+cluster": _cluster_client,
    }
    make = makers.get(url.partition("://")[0])
    if make is None:
        raise BadRedisUrl(f"not a Redis URL: {_without_password(url)}")
    try:
        return make(url, **options)
    except BadRedisUrl:
        raise
    except ValueError:
        # What the parser says may quote a part of the password.
        raise BadRedisUrl(f"not a Redis URL: {_without_password(url)}") from None


def _sentinel_client(url: str, **options: Any) -> Any:
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise BadRedisUrl(
            "redis+sentinel:// names the service: redis+sentinel://host:26379/mymaster"
        )
    settings: dict[str, Any] = options | _credentials(url) | {"db": int(database or 0)}
    sentinel: Any = Sentinel(_addresses(parts.netloc, 26379), **options)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    return sentinel.master_for(service, **settings)


def _cluster_client(url: str, **options: Any) -> Any:
    nodes = [ClusterNode(host, port) for host, port in _addresses(urlsplit(url).netloc, 6379)]
    settings: dict[str, Any] = options | _credentials(url)
    return RedisCluster(startup_nodes=nodes, **settings)


def _addresses(netloc: str, default_port: int) -> list[tuple[str, int]]:
    hosts = netloc.rpartition("@")[2].split(",")
    pairs = [host.rpartition(":") if ":" in host else (host, "", "") for host in hosts]
    if not all(host for host, _, _ in pairs):
        raise BadRedisUrl("a Redis URL names its hosts: host:port,host:port")
    return [(host, int(port or default_port)) for host, _, port in pairs]


def _credentials(url: str) -> dict[str, str]:
    user, _, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    given = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "it names no scheme"
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
