"""The systemd units are what systemd takes, and leave the processes time to end."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher import service as dispatcher_service
from dispatcher.settings import DispatcherSettings
from gateway import service as gateway_service
from gateway.settings import GatewaySettings
from tests.architecture.conftest import ROOT

FOLDER = ROOT / "deploy" / "systemd"
SERVICES = sorted(FOLDER.glob("*.service"))
PYTHON = "/opt/adasplit/.venv/bin/python"


def option_of(path: Path, name: str) -> str:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(path)
    return parser["Service"][name]


def lingering_s() -> float:
    found = re.search(
        r"^ADASPLIT_LINGER_S=(\S+)", (FOLDER / "adasplit.env.example").read_text(), re.MULTILINE
    )
    assert found
    return float(found[1])


def test_a_stop_leaves_time_for_linger_drain_and_last_words() -> None:
    gateway, dispatcher = GatewaySettings(_env_file=None), DispatcherSettings(_env_file=None)
    needed_s = lingering_s() + gateway.drain_s + 2 * gateway_service._LAST_WORDS_S
    assert float(option_of(FOLDER / "adasplit-gateway@.service", "TimeoutStopSec")) > needed_s
    needed_s = dispatcher.drain_s + dispatcher_service._LAST_WORDS_S
    assert float(option_of(FOLDER / "adasplit-dispatcher@.service", "TimeoutStopSec")) > needed_s


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_a_service_is_started_again_and_has_no_rights(path: Path) -> None:
    assert option_of(path, "ExecStart").startswith(f"{PYTHON} -m ")
    assert option_of(path, "Restart") == "always"
    assert option_of(path, "DynamicUser") == "yes"
    assert option_of(path, "NoNewPrivileges") == "yes"
    assert option_of(path, "CapabilityBoundingSet") == ""


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    for path in (*SERVICES, *FOLDER.glob("*.target")):
        # An instance of a template; and a program that is there, which is looked for.
        name = path.name.replace("@.", "@unit-1.")
        (tmp_path / name).write_text(path.read_text().replace(PYTHON, sys.executable))
    run = subprocess.run(
        [analyze, "verify", "--man=no", *sorted(tmp_path.iterdir())],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
