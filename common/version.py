"""The oldest servers that the scripts run on."""

import re

from common.connection import Connection, RedisUnavailable

_FLOORS = {"redis": (7, 0), "valkey": (7, 2)}


class OldRedis(Exception):
    """The server is older than the scripts need."""


async def check_version(connection: Connection) -> None:
    """Raises OldRedis. Scripts that may run when memory is full came with Redis 7.0.

    A server that is away is not waited for. The nodes of a Cluster are not asked.
    """
    if connection.clustered:
        return
    try:
        told = await connection.command("HELLO")
    except RedisUnavailable:
        return
    fields = dict(zip(told[::2], told[1::2], strict=True)) if isinstance(told, list) else told
    server, version = (_text(fields.get(name, b"")) for name in (b"server", b"version"))
    floor = _FLOORS.get(server)
    found = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if floor and found < floor:
        least = ".".join(map(str, floor))
        raise OldRedis(f"{server} {version} is too old: AdaSplit needs {server} {least} or newer")


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
