"""The compose files say what the processes and their settings say."""

import importlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from common.settings import Settings
from dispatcher import service as dispatcher_service
from dispatcher.settings import DispatcherSettings
from gateway import service as gateway_service
from gateway.settings import GatewaySettings
from simulator.settings import read_settings
from tests.architecture.conftest import ROOT
from tests.deploy.conftest import option, read_compose, seconds, text_of

Services = Mapping[str, dict[str, Any]]

DOORS = {"edge", "dashboard", "grafana"}
OPTIONAL = {"prometheus", "grafana"}
UNITS = [f"unit-{number}" for number in range(1, 5)]
# Said on the command line, or the same for all: where a process listens and whom it serves.
SAID_OTHERWISE = {"host", "port", "unit", "unit_url", "dashboard_host", "dashboard_port"}


def process_of(service: Mapping[str, Any]) -> str | None:
    """The package that a service runs: `python -m gateway …`."""
    words = str(service.get("command", "")).split()
    return words[2] if words[:2] == ["python", "-m"] else None


def settings_of(process: str) -> set[str]:
    module = importlib.import_module(f"{process}.settings")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type)]
    return {
        name
        for kind in kinds
        if issubclass(kind, Settings) and kind is not Settings
        for name in kind.model_fields
    }


def settable(service: Mapping[str, Any]) -> set[str]:
    names = (name.partition("ADASPLIT_") for name in service["environment"])
    return {setting.lower() for before, prefix, setting in names if prefix and not before}


def waits_for(services: Services, name: str) -> set[str]:
    direct = set(services[name].get("depends_on", {}))
    return direct.union(*(waits_for(services, one) for one in direct))


def test_every_setting_of_a_process_can_be_set_and_no_other(services: Services) -> None:
    wrong = {}
    for name, service in services.items():
        process = process_of(service)
        if process and process != "simulator":
            differing = settings_of(process) - SAID_OTHERWISE ^ settable(service)
            wrong[name] = differing
    assert {name: differing for name, differing in wrong.items() if differing} == {}
    assert {"gateway", "scaler", "dispatcher-4"} <= set(wrong)


def test_what_can_be_set_of_a_simulated_unit_is_a_flag_of_it(services: Services) -> None:
    values = {"SPEED": "7", "MODEL": "a-name", "START_S": "7", "FAULT": '{"kind": "drop"}'}
    environment = {f"SIMULATOR_{name}": value for name, value in values.items()}
    assert set(services["unit-1"]["environment"]) == set(environment)
    read = read_settings([], environment)
    assert (read.speed, read.model, read.start_s, len(read.faults)) == (7, "a-name", 7, 1)


def test_each_unit_has_its_dispatcher(services: Services) -> None:
    units = [name for name in services if name.startswith("unit-")]
    assert units == UNITS
    for number, unit in enumerate(units, start=1):
        command = services[f"dispatcher-{number}"]["command"]
        port = option(services[unit]["command"], "--port")
        assert option(command, "--unit") == unit
        assert option(command, "--url") == f"http://{unit}:{port}"


def test_a_health_check_asks_where_the_process_listens(services: Services) -> None:
    asked = {}
    for name, service in services.items():
        if process_of(service):
            command, port, path = service["healthcheck"]["test"][1:]
            assert (command, port) == ("healthy", option(service["command"], "--port")), name
            asked[name] = path
    # Not /readyz: who is alive and cannot do its work, as while Redis is away, needs no restart.
    assert set(asked.values()) == {"/healthz", "/health"}


def test_nothing_is_published_but_the_doors_and_they_only_here(services: Services) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert {"edge"} <= set(published) <= DOORS
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)
    assert published["edge"] == ["127.0.0.1:8000:8000"]


def test_any_number_of_gateways_fits(services: Services) -> None:
    assert {"ports", "container_name", "hostname"} & set(services["gateway"]) == set()


def test_the_sides_meet_only_where_they_must(compose: Mapping[str, Any]) -> None:
    services = compose["services"]
    on = {
        name: set(service["networks"])
        for name, service in services.items()
        if "networks" in service
    }
    assert on["redis"] == {"queue"}
    assert on["edge"] == {"front"}
    assert compose["networks"]["queue"]["internal"] is True
    assert all(on[unit] == {"units"} for unit in UNITS)
    others = {name for name in services if not name.startswith(("unit-", "dispatcher-"))}
    # Prometheus reads the units' own metrics.
    assert {name for name in others if "units" in on.get(name, ())} <= {"prometheus"}


def test_one_service_builds_the_image_before_all_that_use_it(services: Services) -> None:
    assert [name for name, service in services.items() if "build" in service] == ["credentials"]
    users = {name for name, service in services.items() if service["image"] == "adasplit:latest"}
    assert len(users) > 10
    for name in users - {"credentials"}:
        assert "credentials" in waits_for(services, name), name


def test_all_run_without_rights_and_end_in_time(services: Services) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if name != "credentials":
            assert service["restart"] == "unless-stopped", name
            assert service["read_only"] is (name != "grafana"), name


def test_prometheus_and_grafana_are_there_when_they_are_asked_for(services: Services) -> None:
    optional = {name for name, service in services.items() if "profiles" in service}
    assert optional == OPTIONAL
    assert all(services[name]["profiles"] == ["observability"] for name in optional)
    asked = yaml.safe_load(text_of("deploy/prometheus/prometheus.yml"))["scrape_configs"]
    for job in asked:
        found = [one for one in job.get("dns_sd_configs", ()) if one["names"][0] in services]
        targets = [f"{one['names'][0]}:{one['port']}" for one in found]
        targets += [target for one in job.get("static_configs", ()) for target in one["targets"]]
        for name, port in (target.split(":") for target in targets):
            if name != "localhost":
                assert port == option(services[name]["command"], "--port"), name


def test_a_stop_leaves_time_for_linger_drain_and_last_words(services: Services) -> None:
    gateway, dispatcher = GatewaySettings(_env_file=None), DispatcherSettings(_env_file=None)
    linger_s = float(services["gateway"]["environment"]["ADASPLIT_LINGER_S"])
    last_words_s = 2 * gateway_service._LAST_WORDS_S
    grace_s = seconds(services["gateway"]["stop_grace_period"])
    assert grace_s > linger_s + gateway.drain_s + last_words_s
    assert seconds(services["edge"]["stop_grace_period"]) >= grace_s
    for number in range(1, 5):
        stopping_s = dispatcher.drain_s + dispatcher_service._LAST_WORDS_S
        assert seconds(services[f"dispatcher-{number}"]["stop_grace_period"]) > stopping_s + 5


def test_redis_writes_down_what_it_holds_and_forgets_nothing(services: Services) -> None:
    command = services["redis"]["command"]
    assert option(command, "--appendonly") == "yes"
    assert option(command, "--maxmemory-policy") == "noeviction"
    assert "/etc/adasplit/redis.conf" in command
    assert "requirepass" not in text_of("docker-compose.yml")
    assert "redis:/data" in services["redis"]["volumes"]


def test_the_gpu_overlay_replaces_the_units_and_nothing_else() -> None:
    overlay = read_compose("docker-compose.gpu.yml")
    assert list(overlay["services"]) == UNITS
    cards: list[str] = []
    for number, unit in enumerate(overlay["services"].values(), start=1):
        command = unit["command"]
        assert option(command, "--port") == f"800{number}" == unit["healthcheck"]["test"][2]
        assert option(command, "--tensor-parallel-size") == "2"
        assert option(command, "--quantization") == "fp8"
        assert {"--enable-chunked-prefill", "--enable-prefix-caching"} <= set(command.split())
        assert "Llama-3" in unit["entrypoint"][-1]
        assert {"build", "ports", "networks"} & set(unit) == set()
        (asked,) = unit["deploy"]["resources"]["reservations"]["devices"]
        assert asked["capabilities"] == ["gpu"]
        cards += asked["device_ids"]
    assert cards == [str(card) for card in range(8)]


def test_what_compose_itself_reads_is_documented(services: Services) -> None:
    texts = text_of("docker-compose.yml") + text_of("docker-compose.gpu.yml")
    read = set(re.findall(r"\$\{(\w+)", texts))
    environments = [service.get("environment", {}) for service in services.values()]
    read |= {name for one in environments for name, value in one.items() if value is None}
    read |= set(services["credentials"]["build"]["args"])
    documented = set(re.findall(r"`([A-Z_]+)`", text_of("docs/deploy.md")))
    assert {name for name in read - documented if not name.startswith("ADASPLIT_")} == set()


@pytest.mark.parametrize("overlays", [(), ("docker-compose.gpu.yml",)], ids=["alone", "gpu"])
@pytest.mark.parametrize("command", [("docker", "compose"), ("docker-compose",)], ids=["v2", "v1"])
def test_compose_takes_the_files(command: tuple[str, ...], overlays: tuple[str, ...]) -> None:
    if shutil.which(command[0]) is None or _fails(*command, "version"):
        pytest.skip(f"`{' '.join(command)}` is not installed")
    files = [word for name in ("docker-compose.yml", *overlays) for word in ("--file", name)]
    run = subprocess.run(
        [*command, *files, "config", "--quiet"], cwd=ROOT, capture_output=True, check=False
    )
    assert run.returncode == 0, run.stderr.decode()


def _fails(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode != 0
