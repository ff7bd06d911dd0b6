"""The edge's rules agree with what gateways do."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from common.settings import Settings
from tests.architecture.conftest import ROOT
from tests.deploy.conftest import seconds, text_of

CONFIG = "deploy/haproxy/haproxy.cfg"
GATEWAYS_KEEP_S = 75


def value(pattern: str) -> str:
    found = re.search(pattern, text_of(CONFIG), re.MULTILINE)
    assert found, pattern
    return found[1]


def test_a_gateway_lingers_until_the_edge_has_seen_it(services: Mapping[str, Any]) -> None:
    every_s = seconds(value(r"inter (\S+)"))
    looks = int(value(r" fall (\d+)"))
    linger_s = float(services["gateway"]["environment"]["ADASPLIT_LINGER_S"])
    assert linger_s >= 2 * every_s * looks
    assert "/readyz" in value(r"^\s+http-check send (.*)$")


def test_the_edge_outlasts_the_longest_answer() -> None:
    longest_s = Settings(_env_file=None).request_timeout_s
    for side in ("client", "server"):
        assert seconds(value(rf"timeout {side} (\S+)")) > longest_s


def test_the_edge_closes_idle_connections_before_gateways_do() -> None:
    assert f"keep_alive_s: float = {GATEWAYS_KEEP_S}.0" in text_of("common/server.py")
    assert seconds(value(r"timeout http-keep-alive (\S+)")) < GATEWAYS_KEEP_S


def test_tokens_are_not_held_back_and_nothing_is_sent_twice() -> None:
    config = text_of(CONFIG)
    assert "option http-no-delay" in config
    assert value(r"retry-on (.*)$") == "conn-failure"


def test_what_the_edge_itself_refuses_has_openais_form() -> None:
    bodies = re.findall(r"http-error status (\d+) .* string '(.*)'", text_of(CONFIG))
    assert {status for status, _ in bodies} >= {"400", "408", "502", "503", "504"}
    for _, body in bodies:
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_haproxy_takes_the_file() -> None:
    haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if haproxy is None:
        pytest.skip("haproxy is not installed")
    run = subprocess.run(
        [haproxy, "-c", "-f", str(ROOT / CONFIG)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
