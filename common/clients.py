"""The clients of one Redis, a Sentinel set or a Cluster, from a URL."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Connection as RedisConnection
from redis.asyncio import Redis, UnixDomainSocketConnection
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from common.packing import packed
from common.settings import without_password

_TLS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"})
_SENTINELS = frozenset({"sentinel_username", "sentinel_password"})


class BadRedisUrl(ValueError):
    """A Redis URL of no known form."""


class _Packing:
    """Packs a connection's commands in C: redis-py does so only in its synchronous ones."""

    def pack_command(self, *args: Any) -> list[bytes]:
        # redis-py writes some commands as two words in one.
        return packed((*args[0].split(" "), *args[1:]))


class _Packed(_Packing, RedisConnection):
    """Over TCP."""


class _PackedUnix(_Packing, UnixDomainSocketConnection):
    """Over a socket of the same machine."""


def make_client(url: str, timeout_s: float) -> Any:
    """A client that connects when it is first used. Raises BadRedisUrl, which hides passwords."""
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
        "unix": _unix_client,
        "redis+sentinel": _sentinel_client,
        "rediss+sentinel": partial(_sentinel_client, tls=True),
        "redis+cluster": _cluster_client,
        "rediss+cluster": partial(_cluster_client, tls=True),
    }
    make = makers.get(url.partition("://")[0])
    if make is None:
        raise BadRedisUrl(f"not a Redis URL: {_told(url)}")
    try:
        return make(url, **options)
    except BadRedisUrl:
        raise
    except ValueError:
        # What the parser says may quote a part of the password.
        raise BadRedisUrl(f"not a Redis URL: {_told(url)}") from None


async def close_client(client: Any) -> None:
    """Close a client and, of a Sentinel set, its connections to the sentinels."""
    await client.aclose()
    sentinels = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    if sentinels:
        await sentinels.aclose()


def _unix_client(url: str, **options: Any) -> Any:
    # There is no TCP to keep alive.
    del options["socket_keepalive"]
    return Redis.from_url(url, connection_class=_PackedUnix, **options)


def _sentinel_client(url: str, *, tls: bool = False, **options: Any) -> Any:
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise BadRedisUrl(
            "redis+sentinel:// names the service: redis+sentinel://host:26379/mymaster"
        )
    query = _query(url, _SENTINELS | (_TLS if tls else frozenset()))
    own = {name.removeprefix("sentinel_"): query.pop(name) for name in _SENTINELS & query.keys()}
    shared = options | query | ({"ssl": True} if tls else {})
    # The sentinels get these options too: by redis-py's own a dead one would be tried for seconds.
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        _addresses(parts.netloc, 26379), sentinel_kwargs=shared | own
    )
    settings = shared | _credentials(url) | {"db": int(database or 0)}
    return sentinel.master_for(service, **settings)


def _cluster_client(url: str, *, tls: bool = False, **options: Any) -> Any:
    nodes = [ClusterNode(host, port) for host, port in _addresses(urlsplit(url).netloc, 6379)]
    settings: dict[str, Any] = options | _credentials(url)
    settings |= _query(url, _TLS) | {"ssl": True} if tls else _query(url, frozenset())
    return RedisCluster(startup_nodes=nodes, **settings)


def _query(url: str, known: frozenset[str]) -> dict[str, str]:
    found = dict(parse_qsl(urlsplit(url).query))
    if not found.keys() <= known:
        raise BadRedisUrl(f"not in a Redis URL: {', '.join(sorted(found.keys() - known))}")
    return found


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


def _told(url: str) -> str:
    return without_password(url) if "://" in url else "it names no scheme"
