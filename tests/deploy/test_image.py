"""The image holds what its processes need, pinned, and its scripts do what they say."""

import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import packages_distributions
from pathlib import Path
from threading import Thread

import pytest

from common.connection import Connection
from common.settings import Settings
from tests.architecture.conftest import ROOT
from tests.deploy.conftest import text_of

SCRIPTS = ROOT / "deploy" / "docker"


def pins(path: str) -> dict[str, set[str]]:
    """Each `name==version` of a lock file with its hashes."""
    found: dict[str, set[str]] = {}
    name = ""
    for line in text_of(path).splitlines():
        if pinned := re.match(r"(\S+==\S+)", line):
            name = pinned[1]
            found[name] = set()
        found.get(name, set()).update(re.findall(r"--hash=(\S+)", line))
    return found


def test_the_image_is_installed_from_pins_that_the_tests_ran_with() -> None:
    image, tested = pins("requirements/serve.txt"), pins("requirements/run.txt")
    assert len(image) > 50
    assert all(image.values())
    assert {name: hashes for name, hashes in image.items() if tested.get(name) != hashes} == {}
    assert "--require-hashes --requirement requirements/serve.txt" in text_of("Dockerfile")


def test_the_processes_and_the_command_start_without_what_the_image_lacks() -> None:
    names = {pin.partition("==")[0] for pin in pins("requirements/serve.txt")}
    lacking = {
        module
        for module, distributions in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", name).lower() for name in distributions} & names
    }
    ours = ["gateway", "dispatcher", "scaler", "simulator", "cli", "dashboard"]
    mains = [f"{name}.__main__" for name in ours if (ROOT / name).is_dir()]
    # Packages of this repository may look like installed ones.
    lacking -= {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"_virtualenv"}
    assert {"numpy", "matplotlib", "pytest"} <= lacking
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(lacking)!r}))\n"
        f"for name in {mains!r}: importlib.import_module(name)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_base_images_can_be_named_and_the_user_is_nobody() -> None:
    dockerfile = text_of("Dockerfile")
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == [
        "${BUILD_IMAGE:-${PYTHON_IMAGE:-python:3.13-slim-trixie}}",
        "${PYTHON_IMAGE:-python:3.13-slim-trixie}",
    ]
    # The last user is the one that it runs as.
    assert re.findall(r"^USER (\d+):\d+$", dockerfile, re.MULTILINE)[-1] != "0"
    assert "HEALTHCHECK" in dockerfile
    # Older builders know no --mount, --link or --chmod.
    assert not re.search(r"^(RUN|COPY|ADD) --(mount|link|chmod)", dockerfile, re.MULTILINE)


def test_no_secret_and_no_history_reaches_the_builder() -> None:
    ignored = text_of(".dockerignore").splitlines()
    # `.*` covers .env, .git and .venv.
    assert {".*", "tests", "docs"} <= set(ignored)
    assert not {"!.env", "!.git"} & set(ignored)


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(("path", "code"), [("/healthz", 0), ("/readyz", 1)])
def test_healthy_says_whether_a_page_answers_200(path: str, code: int) -> None:
    with HTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        port = str(server.server_port)
        run = subprocess.run([SCRIPTS / "healthy", port, path], capture_output=True, check=False)
        thread.join()
    assert run.returncode == code


def test_healthy_says_no_where_nobody_listens(unused_port: int) -> None:
    command = [str(SCRIPTS / "healthy"), str(unused_port), "/healthz"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def _make_credentials(folder: Path, password: str = "") -> int:
    return subprocess.run(
        [SCRIPTS / "make-credentials", str(folder)],
        env={"PATH": "/usr/bin:/bin", "REDIS_PASSWORD": password},
        capture_output=True,
        check=False,
    ).returncode


def _url(folder: Path) -> str:
    return Settings(_env_file=folder / ".env").redis_url


def test_a_password_is_made_up_once_for_redis_and_the_processes(tmp_path: Path) -> None:
    assert _make_credentials(tmp_path) == 0
    password = (tmp_path / "redis-password").read_text().strip()
    assert len(password) == 32
    assert (tmp_path / "redis.conf").read_text() == f"requirepass {password}\n"
    url = _url(tmp_path)
    assert url == f"redis://:{password}@redis:6379/0"
    Connection.from_url(url)
    assert _make_credentials(tmp_path) == 0
    assert _url(tmp_path) == url


def test_two_installations_have_two_passwords(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        _make_credentials(tmp_path / name)
    assert _url(tmp_path / "one") != _url(tmp_path / "two")


def test_a_password_of_ones_own_replaces_the_one_made_up(tmp_path: Path) -> None:
    _make_credentials(tmp_path)
    assert _make_credentials(tmp_path, "mine-1.2_3") == 0
    assert _url(tmp_path) == "redis://:mine-1.2_3@redis:6379/0"
    assert _make_credentials(tmp_path, "not@a:url/") == 1
    assert _url(tmp_path) == "redis://:mine-1.2_3@redis:6379/0"
