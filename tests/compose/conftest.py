"""The composed system, up once for all tests of this folder, under a project name of its own."""

import logging
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.conftest import ROOT
from tests.compose.composed import Composed
from tests.conftest import free_ports

_STAND_INS = ROOT / "deploy" / "stand-in.env"
_PASSED_ON = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "TMPDIR")


def _answers(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _compose() -> list[str] | None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if _answers([*command, "version"]):
            return command
    return None


def _why_not() -> str | None:
    if "TEST_COMPOSE" not in os.environ:
        return "takes minutes and builds an image: `make test-compose` runs it"
    if shutil.which("docker") is None:
        return "docker is not installed"
    if not _answers(["docker", "info"]):
        return "no Docker engine answers"
    return None if _compose() else "neither `docker compose` nor `docker-compose` is installed"


@pytest.fixture(scope="session")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """Up from the files of this folder alone: no `.env` of a developer's changes it."""
    why_not = _why_not()
    if why_not:
        pytest.skip(why_not)
    # What is logged here is how each load went; the clients' libraries name every request.
    for library in ("httpx", "httpx2"):
        logging.getLogger(library).setLevel(logging.WARNING)
    nothing = tmp_path_factory.mktemp("compose") / "empty.env"
    nothing.touch()
    edge_port, dashboard_port = free_ports(2)
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {"EDGE_PORT": str(edge_port), "DASHBOARD_PORT": str(dashboard_port)}
    settings = _STAND_INS if _STAND_INS.exists() else nothing
    one = Composed(_command(settings), environment, f"http://127.0.0.1:{edge_port}")
    try:
        one.compose("build")
        one.compose("up", "-d")
        one.wait_ready()
        yield one
    finally:
        one.compose("down", "--volumes", "--remove-orphans")


def _command(settings: Path) -> list[str]:
    project = f"adasplit-test-{secrets.token_hex(3)}"
    files = ("--file", str(ROOT / "docker-compose.yml"), "--env-file", str(settings))
    return [*(_compose() or ()), *files, "--project-name", project]
