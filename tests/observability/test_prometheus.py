"""A real Prometheus, with the configuration that is shipped, scrapes a real fleet."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.cli.conftest import Up, end, start_up, wait_for
from tests.conftest import DIES_WITH_ITS_PARENT, free_ports
from tests.observability.conftest import PROMETHEUS, needs_prometheus
from tests.observability.test_alerts import ALERTS
from tests.observability.test_dashboard import queries

pytestmark = needs_prometheus

LIMIT_S = 90.0

# Nothing that a healthy fleet has shows these: there is no fault, no flip and no theft.
_EMPTY = {
    "Errors by reason A", "Faults A", "Steals A", "Redis away A", "Time per token after it A",
    "Time per token after it B",
}  # fmt: skip


@dataclass
class Watched:
    """A fleet and the Prometheus that looks at it."""

    up: Up
    url: str

    def ask(self, page: str, **query: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{page}", params=query, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def found(self, query: str) -> list[dict[str, Any]]:
        return list(self.ask("query", query=query)["result"])


def local(folder: Path, ports: dict[str, list[int]]) -> Path:
    """The shipped configuration with this machine's addresses, looking more often."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / "alerts.yml")]
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] in ports]
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        targets = [f"127.0.0.1:{port}" for port in ports[job["job_name"]]]
        job["static_configs"] = [{"targets": targets}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    return file


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    up = start_up(tmp_path_factory.mktemp("fleet"), "--units", "2")
    (port,) = free_ports(1)
    ports = {
        "gateway": [up.port],
        "unit": [up.port + 1, up.port + 2],
        "scaler": [up.port + 10],
        "dispatcher": [up.port + 11, up.port + 12],
    }
    command = [
        *("prometheus", f"--config.file={local(folder, ports)}"),
        *(f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"),
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", DIES_WITH_ITS_PARENT, "/usr/bin/env", *command],
            stdout=log,
            stderr=log,
        )
    try:
        up.wait_ready()
        yield Watched(up, f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()
        end(up)


def answered(watched: Watched, requests: int) -> None:
    for number in range(requests):
        body = {"model": "simulated-llama-3-70b", "prompt": f"ask {number}", "max_tokens": 4}
        answer = httpx.post(
            f"{watched.up.url}/v1/completions", json=body, timeout=60, trust_env=False
        )
        assert answer.status_code == 200


def empty_panels(watched: Watched) -> set[str]:
    return {panel for panel, query in queries().items() if not watched.found(query)}


def test_prometheus_sees_all_processes_and_every_panel_has_something_to_show(
    watched: Watched,
) -> None:
    wait_for(lambda: len(watched.found("up == 1")) == 6, LIMIT_S, "six targets are up")
    asked = 'adasplit_gateway_requests_total{code="200"}'
    wait_for(lambda: bool(watched.found("adasplit_units")), LIMIT_S, "the leader shows the pool")
    answered(watched, 3)
    wait_for(lambda: bool(watched.found(asked)), LIMIT_S, "the first answers were counted")
    answered(watched, 3)
    wait_for(
        lambda: any(float(one["value"][1]) > 0 for one in watched.found(f"increase({asked}[1m])")),
        LIMIT_S,
        "answers are seen to grow",
    )
    # A rate needs two looks at each process, and they are looked at one after the other.
    wait_for(lambda: empty_panels(watched) <= _EMPTY, LIMIT_S, "every panel has something to show")
    rules = [rule for group in watched.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == set(ALERTS)
    assert {rule["health"] for rule in rules} == {"ok"}
    assert watched.found('ALERTS{alertstate="firing"}') == []


def test_a_unit_that_freezes_raises_an_alert(watched: Watched) -> None:
    unit = watched.up.child("simulator")
    unit.send_signal(signal.SIGSTOP)
    try:
        wait_for(
            lambda: (
                {"ProcessDown", "UnitDown"}
                <= {one["metric"]["alertname"] for one in watched.found("ALERTS")}
            ),
            LIMIT_S,
            "alerts are pending",
        )
    finally:
        unit.send_signal(signal.SIGCONT)
    wait_for(lambda: not watched.found("ALERTS"), LIMIT_S, "the alerts are gone")
