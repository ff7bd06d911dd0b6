"""`adasplit top` in front of a gateway that is played, as a program and on a terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO

import pytest

from common.models import PoolView, QueueView, UnitView
from common.policy import Policy
from common.state import state_of
from tests.conftest import free_ports

LIMIT_S = 60


class Played:
    """A gateway whose long queue is as deep as a test says; None: it has no state to show."""

    def __init__(self) -> None:
        self.depth: int | None = 3
        self.url = ""

    def state(self) -> bytes:
        units = (UnitView("unit-1", "short", alive=True, draining=False, short=6, long=0),)
        queues = {"short": QueueView(0, None, 0), "long": QueueView(self.depth or 0, 7.8, 0)}
        view = PoolView(now_ms=0, units=units, queues=queues, overrides={})  # type: ignore[arg-type]
        return json.dumps(state_of("default", view, Policy())).encode()


@pytest.fixture
def gateway() -> Iterator[Played]:
    played = Played()

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if played.depth is None else 200)
            self.end_headers()
            self.wfile.write(played.state())

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is not for it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    played.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield played
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def top(url: str, out: "int | IO[bytes]") -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "cli", "top", "--url", url, "--every-s", "0.1"]
    environment = os.environ | {"COLUMNS": "100", "LINES": "30", "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Reading:
    """What a program writes, read as it comes."""

    def __init__(self, source: int) -> None:
        self.text = ""
        self._source = source
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._source, 65_536)
            except OSError:
                return
            if not chunk:
                return
            self.text += chunk.decode()

    def until(self, fact: Callable[[str], bool]) -> None:
        end_s = time.monotonic() + LIMIT_S
        while not fact(self.text):
            assert time.monotonic() < end_s, self.text
            time.sleep(0.01)


def test_it_shows_the_pool_again_and_again_and_ends_well_with_ctrl_c(gateway: Played) -> None:
    with top(gateway.url, subprocess.PIPE) as process:
        assert process.stdout
        reading = Reading(process.stdout.fileno())
        reading.until(lambda text: text.count("unit-1") > 1)
        gateway.depth = 4711
        reading.until(lambda text: "4711" in text)
        gateway.depth = None
        reading.until(lambda text: "it answered 503" in text)
        gateway.depth = 815
        reading.until(lambda text: "815" in text)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
        assert process.stderr
        assert process.stderr.read() == b""


def test_on_a_terminal_it_has_a_screen_of_its_own_and_gives_it_back(gateway: Played) -> None:
    ours, theirs = pty.openpty()
    with top(gateway.url, theirs) as process:
        os.close(theirs)
        reading = Reading(ours)
        reading.until(lambda text: "unit-1" in text)
        assert "\x1b[?1049h" in reading.text
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
        reading.until(lambda text: "\x1b[?1049l" in text)
    os.close(ours)


def test_without_a_gateway_it_says_so_and_ends() -> None:
    (port,) = free_ports(1)
    with top(f"http://127.0.0.1:{port}", subprocess.PIPE) as process:
        _, said = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 1
        assert b"`adasplit up` starts one" in said
