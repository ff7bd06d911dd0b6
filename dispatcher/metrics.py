"""The metrics of a dispatcher."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_WAITS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """All series of one dispatcher; `pool` and `unit` stand on each."""

    def __init__(self, pool: str, unit: str, registry: CollectorRegistry = REGISTRY) -> None:
        self._here = {"pool": pool, "unit": unit}
        names = ("pool", "unit")

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"adasplit_{name}", text, (*names, *labels), registry=registry)

        self._claims = counter("claims_total", "Calls of the claim script.", "found")
        self._claimed = counter("claimed_jobs_total", "Jobs claimed.", "class", "why")
        self._steals = counter("steals_total", "Jobs of the other class claimed.", "class", "why")
        self._finished = counter("finished_jobs_total", "Attempts ended.", "class", "outcome")
        self._requeued = counter("requeued_jobs_total", "Jobs given back.", "reason")
        self._aborted = counter("aborted_jobs_total", "Calls aborted at the unit.", "reason")
        self._parts = counter("relayed_parts_total", "Parts of answers sent to gateways.")
        self._batches = counter("relayed_batches_total", "Batches that they travelled in.")
        self._faults = counter("unit_faults_total", "Calls that the unit failed.", "fault")
        self._in_flight = Gauge(
            "adasplit_running_jobs", "Jobs at the unit now.", names, registry=registry
        )
        self._up = Gauge(
            "adasplit_unit_up", "Whether the unit takes jobs.", names, registry=registry
        )
        self._waited = Histogram(
            "adasplit_queue_wait_seconds",
            "From submit to claim.",
            (*names, "class"),
            buckets=_WAITS_S,
            registry=registry,
        )

    def claim(self, jobs: int) -> None:
        self._claims.labels(**self._here, found="some" if jobs else "none").inc()

    def claimed(self, job_class: str, why: str, queue_s: float) -> None:
        labels = {**self._here, "class": job_class}
        self._claimed.labels(**labels, why=why).inc()
        self._waited.labels(**labels).observe(queue_s)
        if why in {"stolen", "borrowed", "starved"}:
            self._steals.labels(**labels, why=why).inc()

    def finished(self, job_class: str, outcome: str) -> None:
        self._finished.labels(**{**self._here, "class": job_class, "outcome": outcome}).inc()

    def requeued(self, reason: str) -> None:
        self._requeued.labels(**self._here, reason=reason).inc()

    def aborted(self, reason: str) -> None:
        self._aborted.labels(**self._here, reason=reason).inc()

    def relayed(self, batches: int, parts: int) -> None:
        self._batches.labels(**self._here).inc(batches)
        self._parts.labels(**self._here).inc(parts)

    def fault(self, fault: str) -> None:
        self._faults.labels(**self._here, fault=fault).inc()

    def running(self, jobs: int) -> None:
        self._in_flight.labels(**self._here).set(jobs)

    def unit_up(self, *, up: bool) -> None:
        self._up.labels(**self._here).set(up)
