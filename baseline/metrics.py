"""The metrics of a baseline."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from baseline.queues import Queues
from common.keys import CLASSES


class Metrics:
    """What was answered is counted; what waits and runs is looked up when it is asked for."""

    def __init__(self, queues: Queues) -> None:
        self.registry = CollectorRegistry()
        self._answered = Counter(
            "adasplit_baseline_answers_total",
            "Requests that came to an end.",
            ("class", "status"),
            registry=self.registry,
        )
        self.registry.register(_Books(queues))

    def answered(self, job_class: str, status: int) -> None:
        self._answered.labels(job_class, str(int(status))).inc()


class _Books(Collector):
    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    def collect(self) -> Iterator[Metric]:
        running = GaugeMetricFamily(
            "adasplit_baseline_running_jobs", "Jobs at a unit now.", labels=("unit", "class")
        )
        for unit in self._queues.units:
            running.add_metric((unit.name, "short"), unit.short)
            running.add_metric((unit.name, "long"), unit.long)
        yield running
        depth = GaugeMetricFamily(
            "adasplit_baseline_queue_depth_jobs", "Jobs that wait.", labels=("class",)
        )
        for name in CLASSES:
            depth.add_metric((name,), self._queues.depth(name))
        yield depth
