"""What the gateway counts; each application has a registry of its own."""

from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from common.keys import CLASSES, JobClass
from gateway.mailbox import Mailboxes
from gateway.tokens import TokenCounter
from gateway.watcher import Watcher

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of requests, and gauges of what the watcher and the mailboxes hold."""

    def __init__(
        self, pool: str, mailboxes: Mailboxes, watcher: Watcher, counter: TokenCounter
    ) -> None:
        self._registry = CollectorRegistry()
        self._pool = pool
        self._requests = Counter(
            "adasplit_gateway_requests", "Answers by status.", ["pool", "class", "code"],
            registry=self._registry,
        )  # fmt: skip
        self._ttft = self._histogram("ttft", "Until the first byte of a body.")
        self._e2e = self._histogram("e2e", "Until an answer was complete.")
        self._queue = self._histogram("queue", "In the queue, before the attempt that answered.")
        self._add_gauges(mailboxes, watcher, counter)

    def answered(self, job_class: JobClass | None, code: int) -> None:
        self._requests.labels(self._pool, job_class or "none", str(code)).inc()

    def first_byte(self, job_class: JobClass, ttft_s: float, queue_ms: int) -> None:
        self._ttft[job_class].observe(ttft_s)
        self._queue[job_class].observe(queue_ms / 1000)

    def completed(self, job_class: JobClass, e2e_s: float) -> None:
        self._e2e[job_class].observe(e2e_s)

    def page(self) -> bytes:
        return generate_latest(self._registry) + generate_latest(REGISTRY)

    def _histogram(self, thing: str, says: str) -> dict[JobClass, Histogram]:
        histogram = Histogram(
            f"adasplit_gateway_{thing}_seconds", says, ["pool", "class"],
            registry=self._registry, buckets=_SECONDS,
        )  # fmt: skip
        # Looked up once: a label look-up costs as much as an observation.
        return {name: histogram.labels(self._pool, name) for name in CLASSES}

    def _add_gauges(self, mailboxes: Mailboxes, watcher: Watcher, counter: TokenCounter) -> None:
        self._gauge("open_requests", "Requests with a job.").labels(self._pool).set_function(
            lambda: len(mailboxes)
        )
        self._gauge("bytes_per_token", "The estimate.").labels(self._pool).set_function(
            lambda: counter.bytes_per_token
        )
        self._gauge("live_units", "Units alive when last seen.").labels(self._pool).set_function(
            lambda: len(watcher.live_units)
        )
        depth = self._gauge("queue_depth", "Jobs waiting when last seen.", "class")
        drain = self._gauge("drain_per_second", "Jobs taken by units, of late.", "class")
        for name in CLASSES:
            depth.labels(self._pool, name).set_function(partial(watcher.depth, name))
            drain.labels(self._pool, name).set_function(partial(watcher.per_second, name))

    def _gauge(self, thing: str, says: str, *labels: str) -> Gauge:
        name = f"adasplit_gateway_{thing}"
        return Gauge(name, says, ["pool", *labels], registry=self._registry)
