"""Clients that cost by being slow, many, or deaf: each is let go of in its time."""

import contextlib
import socket
import time
from contextlib import ExitStack, closing

import pytest

from tests.security.conftest import GENEROUS_S, Door, chat, get, post, read_all, statuses


def drip(connection: socket.socket, piece: bytes) -> bytes:
    """Send a little at a time until the gateway has had enough; what it said."""
    connection.settimeout(0.1)
    received = b""
    end_s = time.monotonic() + GENEROUS_S
    while time.monotonic() < end_s:
        with contextlib.suppress(TimeoutError):
            try:
                connection.sendall(piece)
                got = connection.recv(65536)
            except ConnectionError:
                return received
            if not got:
                return received
            received += got
    raise TimeoutError("the gateway holds the connection")


@pytest.mark.parametrize(
    ("begun", "piece", "said"),
    [
        (b"", b"", []),
        (b"", b"\r\n", []),
        (b"GET /healthz HTTP/1.1\r\n", b"x-a: b\r\n", [408]),
        (b"G", b"", [408]),
        (post(b"", "content-length: 90000"), b" ", [408]),
        (post(b"", "transfer-encoding: chunked"), b"1\r\n \r\n", [408]),
        (get("/healthz"), b"\r\n", [200]),
        (get("/healthz") + b"GET /heal", b"t", [200, 408]),
        # Answered before its body has come: the rest is read for a while, and not for ever.
        (post(b"", "content-length: 90000", path="/v1/models"), b" ", [405]),
    ],
    ids=[
        "silence", "empty lines", "slow headers", "half a word", "slow body", "slow chunks",
        "empty lines after an answer", "a slow second request", "a body that nobody waits for",
    ],
)  # fmt: skip
def test_a_slow_request_is_given_up(
    door: Door, begun: bytes, piece: bytes, said: list[int]
) -> None:
    with closing(door.connect()) as connection:
        connection.sendall(begun)
        assert statuses(drip(connection, piece)) == said


def test_a_client_that_never_reads_is_let_go(door: Door) -> None:
    wanted = 2000
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", door.port))
        connection.settimeout(GENEROUS_S)
        # Written until the gateway reads no more, which is when its own answers are not taken.
        with contextlib.suppress(ConnectionError):
            for _ in range(wanted):
                connection.sendall(get("/openapi.json") + get("/nowhere/" + "x" * 3000))
        connection.settimeout(GENEROUS_S)
        assert len(statuses(read_all(connection))) < 2 * wanted
    assert door.alive()


def healthy(connection: socket.socket) -> bool:
    connection.sendall(get("/healthz"))
    received = b""
    while not received.endswith(b"}"):
        received += (piece := connection.recv(65536))
        assert piece, received
    return statuses(received) == [200]


def test_connections_beyond_the_most_are_refused_and_others_go_on(door: Door) -> None:
    with ExitStack() as stack:
        kept = [stack.enter_context(closing(door.connect())) for _ in range(20)]
        for connection in kept:
            assert healthy(connection)
        crowd = [stack.enter_context(closing(door.connect())) for _ in range(60)]
        refused = [connection for connection in crowd if 503 in statuses(read_all(connection))]
        assert len(refused) >= 40
        assert healthy(kept[0])
    assert door.alive()


def test_a_legitimate_request_in_pieces_is_served(door: Door) -> None:
    request = post(chat(model="other"), "connection: close")
    with closing(door.connect()) as connection:
        for at in range(0, len(request), 7):
            connection.sendall(request[at : at + 7])
        assert statuses(read_all(connection)) == [404]
