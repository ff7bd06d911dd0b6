"""The process itself: how it starts, says what is wrong, and stops."""

import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import httpx
import pytest

from tests.conftest import free_ports

GENEROUS_S = 30.0


def run(
    folder: Path, *arguments: str, module: str = "gateway", **settings: str
) -> "subprocess.Popen[str]":
    """Start one where no `.env` is."""
    environment = os.environ | {f"ADASPLIT_{name.upper()}": each for name, each in settings.items()}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder)


def free_port() -> int:
    (port,) = free_ports(1)
    return port


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"redis_url": "http://x"}, 2, "not a Redis URL"),
        ({"tokenizer": "/nowhere/tokenizer.json"}, 1, "cannot read the tokenizer"),
        ({"bytes_per_token": "many"}, 2, "bytes_per_token"),
        ({"lease_s": "1"}, 2, "renew_s"),
        ({"host": "0.0.0.0"}, 2, "allow_anonymous=true"),
        ({"api_keys": "secret"}, 2, "api_keys: entry 1 is not name:key"),
        ({"api_keys_file": "/nowhere/keys"}, 2, "cannot read /nowhere/keys"),
    ],
)
def test_what_keeps_it_from_starting_is_said_in_one_line(
    tmp_path: Path, settings: dict[str, str], code: int, says: str
) -> None:
    process = run(tmp_path, "--port", str(free_port()), **settings)
    _, errors = process.communicate(timeout=GENEROUS_S)
    assert process.returncode == code
    assert says in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_taken_port_is_said_in_one_line(tmp_path: Path, redis_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = run(tmp_path, "--port", str(taken.getsockname()[1]), redis_url=redis_url)
        _, errors = process.communicate(timeout=GENEROUS_S)
    assert process.returncode == 1
    assert errors.startswith("gateway: cannot listen on 127.0.0.1:")


class OldServer(socketserver.StreamRequestHandler):
    """A Redis that is too old, as far as a process asks."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = [self._word() for _ in range(int(line[1:]))]
            hello = b"*4\r\n+server\r\n+redis\r\n+version\r\n+6.2.14\r\n"
            self.wfile.write(hello if words[0] == b"HELLO" else b"+OK\r\n")

    def _word(self) -> bytes:
        size_bytes = int(self.rfile.readline()[1:])
        return self.rfile.read(size_bytes + 2)[:-2]


@pytest.mark.parametrize("module", ["gateway", "dispatcher", "scaler", "dashboard"])
def test_a_redis_that_is_too_old_is_said_in_one_line(tmp_path: Path, module: str) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OldServer) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        url = f"redis://127.0.0.1:{server.server_address[1]}"
        unit = {"unit": "unit-1", "unit_url": "http://127.0.0.1:1"}
        process = run(tmp_path, "--port", str(free_port()), module=module, redis_url=url, **unit)
        _, errors = process.communicate(timeout=GENEROUS_S)
        server.shutdown()
        serving.join()
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith(f"{module}: redis 6.2.14 is too old")
    assert "Traceback" not in errors


def test_a_file_that_is_no_tokenizer_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    process = run(tmp_path, tokenizer=str(tmp_path / "tokenizer.json"), port=str(free_port()))
    _, errors = process.communicate(timeout=GENEROUS_S)
    assert process.returncode == 1
    assert len(errors.strip().splitlines()) == 1


def test_two_gateways_share_a_port_and_stop_clean_on_sigterm(
    tmp_path: Path, redis_url: str
) -> None:
    port, pool = str(free_port()), f"test-{uuid.uuid4().hex}"
    flags = ("--port", port, "--share-port")
    both = [run(tmp_path, *flags, redis_url=redis_url, pool=pool) for _ in range(2)]
    try:
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(transport=transport, timeout=GENEROUS_S) as client:
            assert client.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        logs = [wait_for_line(process, "started gateway") for process in both]
        assert all(logs)
        for process in both:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(GENEROUS_S) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
            process.communicate()


def wait_for_line(process: "subprocess.Popen[str]", says: str) -> bool:
    assert process.stderr is not None
    return any(says in line for line in process.stderr)
