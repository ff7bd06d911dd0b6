"""`adasplit` as a user runs it: real processes, ports and folders of the test's own."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

STARTED_WITHIN_S = 60.0
GONE_WITHIN_S = 60.0
_PORTS = 20


def free_block() -> int:
    """The first of twenty neighbouring ports that nobody listens on."""
    for _ in range(100):
        first = random.randrange(20_000, 32_000, _PORTS)
        with ExitStack() as stack:
            try:
                for port in range(first, first + _PORTS):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports")


def wait_for(fact: Callable[[], bool], limit_s: float, what: str) -> None:
    end_s = time.monotonic() + limit_s
    while not fact():
        if time.monotonic() > end_s:
            raise TimeoutError(f"{what}: not within {limit_s} s")
        time.sleep(0.05)  # between two looks


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Up:
    """A running `adasplit up`, its ports and all processes that it had when it was ready."""

    process: subprocess.Popen[bytes]
    output: Path
    port: int
    environment: dict[str, str]
    family: list[psutil.Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        return self.output.read_text()

    def wait_ready(self) -> None:
        wait_for(lambda: self.ready or self.ended, STARTED_WITHIN_S, f"ready: {self.said}")
        assert not self.ended, self.said
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    @property
    def dashboard_url(self) -> str:
        return f"http://127.0.0.1:{self.port + 9}"

    @property
    def curl(self) -> str:
        """The request that it printed."""
        return self.said.partition("try:\n\n")[2].partition("\n\n")[0]

    @property
    def ready(self) -> bool:
        return "Ctrl-C stops everything" in self.said

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def child(self, name: str) -> psutil.Process:
        """The running process whose command line names it."""
        for one in psutil.Process(self.process.pid).children():
            if name in " ".join(one.cmdline()):
                return one
        raise LookupError(name)

    def wait_gone(self) -> None:
        """Until it has ended, and every process of it, and every port is free."""
        self.process.wait(GONE_WITHIN_S)
        wait_for(lambda: not any(alive(one.pid) for one in self.family), GONE_WITHIN_S, "gone")
        # The threads of a killed process hold its sockets a moment longer than it lives.
        wait_for(self._ports_free, GONE_WITHIN_S, "ports free")

    def wait_said(self, words: str) -> None:
        wait_for(lambda: words in self.said, GONE_WITHIN_S, words)

    def _ports_free(self) -> bool:
        try:
            for port in range(self.port, self.port + _PORTS):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def environment_in(folder: Path) -> dict[str, str]:
    """The user's environment, with folders of the test's own and no settings of AdaSplit."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ADASPLIT_")}
    kept["TERM"] = "dumb"
    return kept | {name: str(folder) for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "TMPDIR")}


def run_cli(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        env=environment,
        cwd=environment["TMPDIR"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def start_up(folder: Path, *arguments: str, **settings: str) -> Up:
    port, output = free_block(), folder / "output.txt"
    ports = ["--port", str(port), "--unit-port", str(port + 1), "--admin-port", str(port + 10)]
    ports += ["--dashboard-port", str(port + 9)]
    environment = environment_in(folder)
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "up", "--speed", "20", *ports, *arguments],
            env=environment | settings,
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return Up(process, output, port, environment)


def end(up: Up) -> None:
    """Leave nothing behind, whatever a test made of it."""
    if not up.ended:
        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
    for one in up.family:
        if alive(one.pid):
            one.kill()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start an `adasplit up` with these arguments and settings."""
    started: list[Up] = []

    def start(*arguments: str, **settings: str) -> Up:
        started.append(start_up(tmp_path, *arguments, **settings))
        return started[-1]

    yield start
    for one in started:
        end(one)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that runs while a module's tests look at it."""
    one = start_up(tmp_path_factory.mktemp("up"), "--units", "2")
    try:
        one.wait_ready()
        yield one
    finally:
        end(one)


Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(running: Up) -> Cli:
    """Run a command as in another terminal beside the one that runs."""
    return lambda *arguments: run_cli(running.environment, *arguments)


@pytest.fixture
def cli_alone(tmp_path: Path) -> Cli:
    """Run a command where nothing runs; settings as keywords."""

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return run_cli(environment_in(tmp_path) | settings, *arguments)

    return run


@pytest.fixture
def free_port() -> int:
    return free_block()
