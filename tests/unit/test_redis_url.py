"""The forms of a Redis URL; a wrong one is refused and its password kept to itself."""

from typing import Any

import pytest

from common.connection import LONGEST_BLOCK_S, BadRedisUrl, Connection


def clients(url: str, timeout_s: float = 5.0) -> list[Any]:
    connection = Connection.from_url(url, timeout_s)
    return [connection._quick, connection._blocking]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://127.0.0.1:7000/3", {"host": "127.0.0.1", "port": 7000, "db": 3}),
        ("redis://me:p%40ss@host/0", {"host": "host", "username": "me", "password": "p@ss"}),
        ("rediss://host:7001", {"host": "host", "port": 7001}),
        ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "db": 2}),
    ],
)
def test_a_single_server_is_reached_by_its_url(url: str, expected: dict[str, Any]) -> None:
    for client in clients(url):
        options = client.connection_pool.connection_kwargs
        assert {name: options[name] for name in expected} == expected


def test_sentinels_are_asked_for_their_service() -> None:
    url = "redis+sentinel://me:secret@one:26380,two/mymaster/2"
    for client in clients(url):
        pool = client.connection_pool
        assert pool.service_name == "mymaster"
        options = pool.connection_kwargs
        assert (options["db"], options["username"], options["password"]) == (2, "me", "secret")
        addresses = [
            (sentinel.connection_pool.connection_kwargs["host"],
             sentinel.connection_pool.connection_kwargs["port"])
            for sentinel in pool.sentinel_manager.sentinels
        ]  # fmt: skip
        assert addresses == [("one", 26380), ("two", 26379)]


async def test_a_cluster_is_reached_by_some_of_its_nodes() -> None:
    for client in clients("redis+cluster://:secret@one:7000,two"):
        nodes = client.nodes_manager.startup_nodes.values()
        assert {(node.host, node.port) for node in nodes} == {("one", 7000), ("two", 6379)}
        assert client.connection_kwargs["password"].encode() == b"secret"


@pytest.mark.parametrize("url", ["redis://host", "redis+sentinel://host/mymaster"])
def test_a_blocking_read_outlives_a_quick_calls_timeout(url: str) -> None:
    quick, blocking = (client.connection_pool.connection_kwargs for client in clients(url, 1.5))
    assert quick["socket_timeout"] == 1.5
    assert blocking["socket_timeout"] == 1.5 + LONGEST_BLOCK_S


@pytest.mark.parametrize("url", ["redis://host", "redis+sentinel://host/mymaster"])
def test_no_client_repeats_a_command_by_itself(url: str) -> None:
    for client in clients(url):
        assert client.connection_pool.connection_kwargs["retry"]._retries == 0


@pytest.mark.parametrize(
    "url",
    [
        "",
        "me:secret@host:6379",
        "http://me:secret@host:6379",
        "http://host:6379?password=secret",
        "redis://me:secret@host:port",
        "redis://:secret/slash@host:6379/0",
        "redis://host:port?password=secret",
        "redis+sentinel://me:secret@host:26379",
        "redis+sentinel://me:secret@host:26379/mymaster/db",
        "redis+sentinel://me:secret@/mymaster",
        "redis+cluster://me:secret@host:port",
        "redis+cluster://me:secret@",
        "redis+cluster://me:secret@one,,two",
    ],
)
def test_a_url_of_no_known_form_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadRedisUrl) as raised:
        Connection.from_url(url)
    assert "secret" not in str(raised.value)
    assert "slash" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_dead_sentinels_are_passed_over_without_trying_them_again() -> None:
    for client in clients("redis+sentinel://one,two/mymaster", 1.5):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            options = sentinel.connection_pool.connection_kwargs
            assert options["retry"]._retries == 0
            assert options["socket_connect_timeout"] <= 1.5 + LONGEST_BLOCK_S


def test_sentinels_have_a_password_of_their_own_or_none() -> None:
    query = "?sentinel_username=watcher&sentinel_password=other%3F"
    (client, _) = clients("redis+sentinel://me:secret@one/mymaster" + query)
    pool = client.connection_pool
    assert pool.connection_kwargs["username"] == "me"
    (sentinel,) = pool.sentinel_manager.sentinels
    asked = sentinel.connection_pool.connection_kwargs
    assert (asked["username"], asked["password"]) == ("watcher", "other?")
    (client, _) = clients("redis+sentinel://me:secret@one/mymaster")
    (sentinel,) = client.connection_pool.sentinel_manager.sentinels
    assert sentinel.connection_pool.connection_kwargs.get("password") is None


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://:secret@one/mymaster?ssl_ca_certs=ca.pem",
        "redis+sentinel://:secret@one/mymaster?password=secret",
        "redis+cluster://:secret@one?db=1",
        "rediss+cluster://:secret@one?ssl=secret",
    ],
)
def test_what_a_url_asks_for_and_cannot_have_is_refused(url: str) -> None:
    with pytest.raises(BadRedisUrl) as raised:
        Connection.from_url(url)
    assert "secret" not in str(raised.value)
