"""A dashboard as a process: how it refuses, that it waits for Redis, and what it leaves behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.cli.conftest import alive, wait_for
from tests.conftest import free_ports

LIMIT_S = 40.0

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder of the test's own in which the path of a socket has room: 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="d-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def start(tmp_path: Path, short_path: Path) -> Iterator[Start]:
    """Start a dashboard with these arguments and settings; folders are the test's own."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **settings: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "dashboard", *arguments],
                env=os.environ | {"TMPDIR": str(short_path)} | settings,
                cwd=tmp_path,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        (["--port", "70000"], {}, "setting dashboard_port: "),
        ([], {"ADASPLIT_DASHBOARD_LOOK_S": "never"}, "setting dashboard_look_s: "),
        ([], {"ADASPLIT_REDIS_URL": "what://user:pw@ever"}, "not a Redis URL: what://ever"),
    ],
)
def test_what_cannot_be_is_one_line(
    start: Start, arguments: list[str], settings: dict[str, str], says: str
) -> None:
    port = [] if arguments else ["--port", str(free_ports(1)[0])]
    process = start(*arguments, *port, **settings)
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert said.splitlines()[-1].startswith(f"dashboard: {says}")
    assert "Traceback" not in said


def test_a_port_in_use_is_one_line(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start("--port", str(taken.getsockname()[1]))
        _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert said.startswith("dashboard: cannot listen on 127.0.0.1:")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_own_server_ends_with_it(
    start: Start, number: signal.Signals, short_path: Path
) -> None:
    # There is no Redis here: it starts all the same, and says so on its page.
    port, redis_port = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    process = start("--port", str(port), ADASPLIT_REDIS_URL=f"redis://127.0.0.1:{redis_port}")
    wait_for(lambda: answers(url), LIMIT_S, "it answers")
    assert httpx.get(f"{url}/live.json", trust_env=False).json()["now"]["sight"] is None
    assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 503
    (server,) = psutil.Process(process.pid).children()
    ports = [one.laddr for one in server.net_connections() if one.status == psutil.CONN_LISTEN]
    assert ports == []
    process.send_signal(number)
    process.wait(LIMIT_S)
    wait_for(lambda: not alive(server.pid), LIMIT_S, "gone")
    left = list(short_path.glob("adasplit-*-rq-*"))
    assert bool(left) == (number == signal.SIGKILL)
    if left:
        other = start("--port", str(port), ADASPLIT_REDIS_URL=f"redis://127.0.0.1:{redis_port}")
        wait_for(lambda: answers(url), LIMIT_S, "the next one answers")
        assert not left[0].exists()
        assert other.poll() is None
