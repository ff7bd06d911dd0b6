"""The Kubernetes manifests keep to the API's schemas and to what the processes need."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dispatcher import service as dispatcher_service
from dispatcher.settings import DispatcherSettings
from gateway import service as gateway_service
from gateway.settings import GatewaySettings
from tests.architecture.conftest import ROOT
from tests.deploy.conftest import option, read_compose

FOLDER = ROOT / "deploy" / "kubernetes"
BASE = FOLDER / "base"
# The oldest with sidecars on by default, and the newest that the schemas know.
VERSIONS = ("1.29", "1.37")

Resource = dict[str, Any]


def resources(folder: Path) -> Iterator[Resource]:
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    for name in listed:
        if name.endswith(".yaml"):
            yield from yaml.safe_load_all((folder / name).read_text())


RESOURCES = list(resources(BASE))
PODS = {
    one["metadata"]["name"]: one["spec"]["template"]["spec"]
    for one in RESOURCES
    if one["kind"] in {"Deployment", "StatefulSet"}
}
CONTAINERS = [
    pytest.param(pod, container, id=f"{name}-{container['name']}")
    for name, pod in PODS.items()
    for container in (*pod.get("initContainers", ()), *pod["containers"])
]


def named(kind: str) -> dict[str, Resource]:
    return {one["metadata"]["name"]: one for one in RESOURCES if one["kind"] == kind}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "resource", RESOURCES, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_a_resource_keeps_to_the_schema(resource: Resource, version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


def test_all_files_are_listed() -> None:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    present = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == present


@pytest.mark.parametrize(("pod", "container"), CONTAINERS)
def test_a_container_runs_without_rights_within_bounds(pod: Resource, container: Resource) -> None:
    context = pod["securityContext"] | container["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] != 0
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]
    assert pod["automountServiceAccountToken"] is False
    # Else Kubernetes sets variables named after services, ADASPLIT_… among them.
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize(("pod", "container"), CONTAINERS)
def test_a_container_is_probed_and_only_the_dead_are_restarted(
    pod: Resource, container: Resource
) -> None:
    assert {"readinessProbe", "startupProbe"} & set(container)
    alive = container["livenessProbe"]
    # Not /readyz: while Redis is away nobody is ready, and restarting all would not bring it back.
    assert "readyz" not in str(alive)
    assert alive["failureThreshold"] * alive["periodSeconds"] >= 30


@pytest.mark.parametrize("name", ["dashboard", "gateway", "scaler", "unit"])
def test_a_process_listens_where_it_is_asked(name: str) -> None:
    (container,) = PODS[name]["containers"]
    (port,) = container["ports"]
    assert option(" ".join(container["command"]), "--port") == str(port["containerPort"])
    assert container["readinessProbe"]["httpGet"]["port"] == port["name"]


def test_a_pod_has_time_for_linger_drain_and_last_words() -> None:
    lines = (BASE / "settings.env").read_text().splitlines()
    given = dict(line.split("=") for line in lines if line.startswith("ADASPLIT_"))
    gateway, dispatcher = GatewaySettings(_env_file=None), DispatcherSettings(_env_file=None)
    needed_s = float(given["ADASPLIT_LINGER_S"]) + gateway.drain_s
    needed_s += 2 * gateway_service._LAST_WORDS_S
    assert PODS["gateway"]["terminationGracePeriodSeconds"] > needed_s
    needed_s = dispatcher.drain_s + dispatcher_service._LAST_WORDS_S
    assert PODS["unit"]["terminationGracePeriodSeconds"] > needed_s
    assert {name.removeprefix("ADASPLIT_").lower() for name in given} <= set(
        GatewaySettings.model_fields
    )


def test_the_engine_outlives_its_dispatcher_and_nobody_else_reaches_it() -> None:
    (engine,) = PODS["unit"]["initContainers"]
    assert engine["restartPolicy"] == "Always"
    command = " ".join(engine["command"])
    assert option(command, "--host") == "127.0.0.1"
    url = option(" ".join(PODS["unit"]["containers"][0]["command"]), "--url")
    assert url == f"http://127.0.0.1:{option(command, '--port')}"


def test_each_kind_of_which_there_are_several_has_a_budget() -> None:
    several = {
        one["metadata"]["name"]
        for one in RESOURCES
        if one["kind"] in {"Deployment", "StatefulSet"} and one["spec"]["replicas"] > 1
    }
    budgets = named("PodDisruptionBudget")
    assert set(budgets) == several
    for name, budget in budgets.items():
        labels = budget["spec"]["selector"]["matchLabels"]
        assert labels == {"app.kubernetes.io/name": name}


def test_redis_is_reached_by_the_processes_alone() -> None:
    policies = named("NetworkPolicy")
    assert "ingress" not in policies["adasplit-default"]["spec"]
    (rule,) = policies["adasplit-redis"]["spec"]["ingress"]
    (who,) = rule["from"]
    (expression,) = who["podSelector"]["matchExpressions"]
    assert set(PODS) - {"redis"} <= set(expression["values"])


def test_the_gpu_overlay_runs_what_the_compose_overlay_runs() -> None:
    (patch,) = yaml.safe_load_all((FOLDER / "gpu" / "units.yaml").read_text())
    (engine,) = patch["spec"]["template"]["spec"]["initContainers"]
    compose = read_compose("docker-compose.gpu.yml")["services"]["unit-1"]
    assert engine["image"] == compose["image"]
    ours = " ".join([*compose["entrypoint"], *compose["command"].split()])
    theirs = " ".join(engine["command"])
    for name in ("--tensor-parallel-size", "--quantization", "--max-model-len"):
        assert option(ours, name) == option(theirs, name)
    for flag in (compose["entrypoint"][-1], "--enable-chunked-prefill", "--enable-prefix-caching"):
        assert flag in ours
        assert flag in theirs
    assert engine["resources"]["limits"]["nvidia.com/gpu"] == "2"
