"""What the gateway counts; each application has a registry of its own."""

from collections.abc import Callable
from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from common.keys import CLASSES, JobClass
from common.metrics import SECONDS, TOKEN_SECONDS, Children
from gateway.errors import ApiError
from gateway.mailbox import Mailboxes
from gateway.tokens import TokenCounter
from gateway.watcher import Watcher

_NO_CLASS = "none"
"""The class of a request that was refused before it had one."""

_TOKENS = (64, 256, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072)


class Metrics:
    """Counters of requests, and gauges of what the watcher and the mailboxes hold."""

    def __init__(
        self, pool: str, mailboxes: Mailboxes, watcher: Watcher, counter: TokenCounter
    ) -> None:
        self.registry = CollectorRegistry()
        self._pool = pool
        self._requests = self._counter("requests_total", "Answers by status.", "class", "code")
        self._errors = self._counter(
            "errors_total", "Answers that are this gateway's own errors.", "class", "reason"
        )
        self._resubmitted = self._counter(
            "resubmitted_jobs_total", "Jobs that Redis had forgotten."
        )
        self._prompt = self._histogram(
            "prompt_tokens", "Tokens of prompts, as counted.", buckets=_TOKENS
        )
        self._ttft = self._histogram("ttft_seconds", "Until the first byte of a body.")
        self._tpot = self._histogram(
            "tpot_seconds", "For each token after the first, in a stream.", buckets=TOKEN_SECONDS
        )
        self._e2e = self._histogram("e2e_seconds", "Until an answer was complete.")
        self._queue = self._histogram(
            "queue_seconds", "In the queue, before the attempt that answered."
        )
        self._estimates = self._counter(
            "start_estimates_total",
            "Estimates of start, by how they came true.",
            "class",
            "kind",
        )
        self._add_gauges(mailboxes, watcher, counter)
        _ = self._resubmitted[()]

    def answered(self, job_class: JobClass | None, code: int) -> None:
        self._requests[job_class or _NO_CLASS, str(code)].inc()

    def failed(self, job_class: JobClass | None, error: ApiError) -> None:
        """An answer that is an error, or ends with one."""
        self.answered(job_class, error.status)
        self._errors[job_class or _NO_CLASS, error.code or "malformed"].inc()

    def admitted(self, job_class: JobClass, tokens: int) -> None:
        self._prompt[job_class].observe(tokens)

    def first_byte(self, job_class: JobClass, ttft_s: float, queue_ms: int) -> None:
        self._ttft[job_class].observe(ttft_s)
        self._queue[job_class].observe(queue_ms / 1000)

    def estimated(self, job_class: JobClass, result: str) -> None:
        """A start that had been estimated: close, near, early or late."""
        self._estimates[job_class, result].inc()

    def completed(self, job_class: JobClass, e2e_s: float) -> None:
        self._e2e[job_class].observe(e2e_s)

    def streamed(self, job_class: JobClass, after_first_s: float, tokens: int) -> None:
        """A stream whose unit said how many tokens it had; the first ends the prefill."""
        if tokens > 1:
            self._tpot[job_class].observe(after_first_s / (tokens - 1))

    def resubmitted(self) -> None:
        self._resubmitted[()].inc()

    def page(self) -> bytes:
        return generate_latest(self.registry) + generate_latest(REGISTRY)

    def _add_gauges(self, mailboxes: Mailboxes, watcher: Watcher, counter: TokenCounter) -> None:
        show = self._show
        show("open_requests", "Requests with a job.", lambda: len(mailboxes))
        show(
            "unsent_bytes",
            "Bytes of answers that wait for their clients to read.",
            lambda: sum(box.unsent_bytes for box in mailboxes),
        )
        show("bytes_per_token", "The estimate.", lambda: counter.bytes_per_token)
        show("live_units", "Units alive when last seen.", lambda: watcher.live_units)
        show("fresh", "1 while the pool was seen of late.", lambda: watcher.fresh)
        depth = self._gauge("queue_depth_jobs", "Jobs waiting when last seen.", "class")
        oldest = self._gauge(
            "queue_oldest_wait_seconds", "How long the oldest of them had waited.", "class"
        )
        drain = self._gauge("drain_jobs_per_second", "Jobs taken by units, of late.", "class")
        for name in CLASSES:
            depth[name].set_function(partial(watcher.depth, name))
            oldest[name].set_function(partial(watcher.oldest_s, name))
            drain[name].set_function(partial(_starts, watcher, name))

    def _show(self, thing: str, says: str, value: Callable[[], float]) -> None:
        self._gauge(thing, says)[()].set_function(value)

    def _counter(self, thing: str, says: str, *labels: str) -> Children[Counter]:
        name = f"adasplit_gateway_{thing}"
        counter = Counter(name, says, ("pool", *labels), registry=self.registry)
        return Children(counter, self._pool)

    def _gauge(self, thing: str, says: str, *labels: str) -> Children[Gauge]:
        name = f"adasplit_gateway_{thing}"
        gauge = Gauge(name, says, ("pool", *labels), registry=self.registry)
        return Children(gauge, self._pool)

    def _histogram(
        self, thing: str, says: str, buckets: tuple[float, ...] = SECONDS
    ) -> Children[Histogram]:
        histogram = Histogram(
            f"adasplit_gateway_{thing}", says, ("pool", "class"),
            registry=self.registry, buckets=buckets,
        )  # fmt: skip
        return Children(histogram, self._pool)


def _starts(watcher: Watcher, job_class: JobClass) -> float:
    return watcher.drain(job_class).starts
