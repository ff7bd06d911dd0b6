"""docs/metrics.md lists every metric of every process with its type and labels, and no other."""

import importlib
import re
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

import scaler.metrics
from baseline.metrics import Metrics as BaselineMetrics
from baseline.policies import policy_named
from baseline.queues import Queues
from common.models import PoolView, QueueView, UnitView
from common.policy import Policy
from dispatcher.health import UnitHealth
from dispatcher.metrics import Metrics as DispatcherMetrics
from dispatcher.running import RunningJobs
from gateway.mailbox import Mailboxes
from gateway.metrics import Metrics as GatewayMetrics
from gateway.tokens import TokenCounter
from gateway.watcher import Watcher
from tests.architecture.conftest import PACKAGES, ROOT

_ROW = re.compile(r"^\| `(adasplit_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)


@dataclass(frozen=True)
class Metric:
    """What a row says."""

    name: str
    kind: str
    labels: tuple[str, ...]


def documented() -> list[Metric]:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    return [
        Metric(name, kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in _ROW.findall(text)
    ]


def registered(registry: CollectorRegistry) -> list[Metric]:
    """The metrics of a registry that are ours; a counter by the name that its series have."""
    found = []
    for collector in set(registry._collector_to_names):
        for family in getattr(collector, "describe", collector.collect)():
            holder: Any = collector if hasattr(collector, "_labelnames") else family
            name = family.name + ("_total" if family.type == "counter" else "")
            found.append(Metric(name, family.type, tuple(holder._labelnames)))
    return [metric for metric in found if metric.name.startswith("adasplit_")]


def in_the_code() -> list[Metric]:
    dispatcher = CollectorRegistry()
    metrics = DispatcherMetrics("p", "u", dispatcher)
    metrics.observe(RunningJobs(), UnitHealth(1.0))
    metrics.observe_limits(lambda _: None, lambda _: 0.0)
    views: Any = None
    watcher = Watcher(views, Policy(), 1.0, 5.0)
    gateway = GatewayMetrics("p", Mailboxes(1024), watcher, TokenCounter(4.0))
    books = Queues(policy_named("round-robin", ()), (), {})
    for package in PACKAGES:
        # Those that register what they count when they are imported.
        if (ROOT / package / "metrics.py").is_file() and package != "simulator":
            importlib.import_module(f"{package}.metrics")
    registries = (REGISTRY, dispatcher, gateway.registry, BaselineMetrics(books).registry)
    return [metric for registry in registries for metric in registered(registry)]


def test_the_docs_list_every_metric_with_its_type_and_labels_and_no_other() -> None:
    assert set(documented()) == set(in_the_code())


def test_no_metric_is_listed_twice() -> None:
    names = [metric.name for metric in documented()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "metric", sorted(in_the_code(), key=lambda metric: metric.name), ids=lambda metric: metric.name
)
def test_a_metric_names_its_unit_and_nothing_of_a_request(metric: Metric) -> None:
    assert metric.kind != "counter" or metric.name.endswith("_total")
    assert metric.kind != "histogram" or metric.name.endswith(("_seconds", "_tokens"))
    allowed = {"pool", "unit", "role", "class", "process", "version", "call", "duty", "code"}
    allowed |= {"reason", "found", "why", "outcome", "fault", "kind", "to", "status"}
    assert set(metric.labels) <= allowed


def test_the_leaders_page_of_a_pool_names_each_unit_once() -> None:
    collector = scaler.metrics.PoolCollector()
    assert list(collector.collect()) == []
    busy = UnitView("a", "long", alive=True, draining=False, short=2, long=2, limit=8)
    dead = UnitView("b", "short", alive=False, draining=False, short=0, long=0, limit=8)
    queues: Any = {"short": QueueView(0, None, 5), "long": QueueView(3, 7.5, 2)}
    view = PoolView(1000, (busy, dead), queues, {}, body_bytes=99, dead=4)
    collector.show("p", view, Policy())
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in collector.collect()
        for sample in family.samples
    }
    assert shown["adasplit_units", "p", "long"] == 1
    assert shown["adasplit_units", "p", "short"] == 0
    assert shown["adasplit_unit_alive", "p", "b"] == 0
    assert shown["adasplit_unit_load_ratio", "p", "a"] == 0.5
    assert shown["adasplit_unit_slots_jobs", "p", "a"] == 4
    assert shown["adasplit_unit_slots_jobs", "p", "b"] == 0
    assert shown["adasplit_unit_role", "p", "a", "long"] == 1
    assert shown["adasplit_unit_role", "p", "a", "short"] == 0
    assert shown["adasplit_queue_oldest_wait_seconds", "p", "long"] == 7.5
    assert shown["adasplit_dead_letter_jobs", "p"] == 4
    assert shown["adasplit_queue_bytes", "p"] == 99
    collector.hide()
    assert list(collector.collect()) == []
