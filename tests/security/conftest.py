"""A real gateway process with small bounds, and a plain socket to attack it with."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from common.connection import Connection
from common.settings import Settings
from common.store import Store
from tests.cli.conftest import wait_for
from tests.conftest import DIES_WITH_ITS_PARENT, free_ports

GENEROUS_S = 30.0
KEY, OTHER_KEY, ADMIN_KEY = "key-of-ann", "key-of-bob", "key-of-ops"

# No duty of the gateway says anything to Redis while a test listens, but the read that waits for
# answers. The unit beats once and counts as alive for ever.
QUIET = {"alive_s": 100_000.0, "heartbeat_s": 40_000.0}
_BOUNDS = {
    "watch_s": 40_000, "trim_s": 40_000, "recover_s": 40_000, "linger_s": 0, "drain_s": 0,
    "max_body_bytes": 100_000, "max_head_bytes": 4096, "head_timeout_s": 2, "body_timeout_s": 2,
    "max_connections": 40, "client_stall_s": 1,
    "api_keys": f"ann:{KEY},bob:{OTHER_KEY}", "admin_keys": f"ops:{ADMIN_KEY}",
}  # fmt: skip

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass
class Door:
    """A gateway process, by its port; `redis` is the server behind it."""

    port: int
    redis: Redis
    store: Store
    process: "subprocess.Popen[bytes]"

    @property
    def pool(self) -> str:
        return self.store.keys.pool

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=GENEROUS_S)

    def ask(self, *sent: bytes) -> bytes:
        """Send, and read until the gateway closes the connection."""
        with closing(self.connect()) as connection:
            with suppress(ConnectionError):
                for piece in sent:
                    connection.sendall(piece)
            return read_all(connection)

    def alive(self) -> bool:
        return statuses(self.ask(LAST)) == [200]


LAST = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
"""A request that ends a connection with its answer: how many answers come before it tells how many
requests the gateway has seen."""


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    return received


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in _STATUS.findall(answers)]


def post(body: bytes = b"", *headers: str, path: str = "/v1/chat/completions") -> bytes:
    """A request with a key, whose length is declared unless the headers say how it is framed."""
    lines = [f"POST {path} HTTP/1.1", "host: x", f"authorization: Bearer {KEY}", *headers]
    if not any(line.lower().startswith("content-type") for line in headers):
        lines.append("content-type: application/json")
    framed = any(re.match("content-length|transfer-encoding", line.lower()) for line in headers)
    if not framed:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def get(path: str = "/v1/models", *headers: str, key: str = KEY) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "host: x", f"authorization: Bearer {key}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def chat(**fields: Any) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]} | fields
    return json.dumps(body).encode()


def start_gateway(folder: Path, redis_url: str, pool: str, **changes: Any) -> tuple[Any, int]:
    """A gateway's process and its port; it dies with the test."""
    (port,) = free_ports(1)
    given = QUIET | _BOUNDS | changes | {"redis_url": redis_url, "pool": pool, "port": port}
    environment = {f"ADASPLIT_{name.upper()}": str(value) for name, value in given.items()}
    command = (sys.executable, "-c", DIES_WITH_ITS_PARENT, sys.executable, "-m", "gateway")
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=os.environ | environment, stderr=log)
    return process, port


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, servers: Callable[[str], Any]) -> Iterator[Door]:
    folder, server, pool = tmp_path_factory.mktemp("door"), servers("valkey"), uuid.uuid4().hex
    settings = Settings(pool=pool, _env_file=None, **QUIET)
    connection = Connection.from_url(server.url)
    fields: dict[str, Any] = {"url": "http://127.0.0.1:1", "models": "m", "health": "ok"}
    store = Store(connection, settings)

    async def register() -> None:
        await store.register("unit-1", fields)
        await connection.aclose()

    asyncio.run(register())
    process, port = start_gateway(folder, server.url, pool)
    with closing(Redis(port=server.port, protocol=2)) as redis:
        one = Door(port, redis, store, process)
        try:
            wait_for(lambda: answers(one), GENEROUS_S, "the gateway answers")
            yield one
        finally:
            process.kill()
            process.wait()


def answers(door: Door) -> bool:
    try:
        return door.alive()
    except OSError:
        return False
