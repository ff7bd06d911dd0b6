"""Servers that are too old are refused by name."""

import pytest

from common.connection import Connection
from common.version import OldRedis, check_version


class Telling:
    """A client whose server says what it is."""

    def __init__(self, server: str, version: str) -> None:
        self._told = [b"server", server.encode(), b"version", version.encode(), b"proto", 2]

    async def execute_command(self, *_: object) -> list[object]:
        return self._told


@pytest.mark.parametrize(
    ("server", "version"), [("redis", "6.2.14"), ("redis", "5.0"), ("valkey", "7.1.9")]
)
async def test_a_server_that_is_too_old_is_refused_by_name(server: str, version: str) -> None:
    with pytest.raises(OldRedis, match=f"{server} {version} is too old"):
        await check_version(Connection(Telling(server, version), None))


@pytest.mark.parametrize(
    ("server", "version"),
    [("redis", "7.0.0"), ("redis", "10.1"), ("valkey", "7.2.4"), ("valkey", "9.1.2"), ("x", "1")],
)
async def test_a_server_that_is_new_enough_is_taken(server: str, version: str) -> None:
    await check_version(Connection(Telling(server, version), None))
