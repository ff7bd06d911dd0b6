"""The metrics of a dispatcher."""

from collections.abc import Callable
from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from common.keys import CLASSES, JobClass
from common.metrics import SECONDS, TOKEN_SECONDS, Children
from dispatcher.health import UnitHealth
from dispatcher.running import RunningJobs

_STEALS = frozenset({"stolen", "borrowed", "starved"})
_REASONS = (
    *("drained", "revoked", "unit failed", "lease lapsed", "dispatcher restarted"),
    "claim reply lost",
)


class Metrics:
    """All series of one dispatcher; `pool` and `unit` stand on each."""

    def __init__(self, pool: str, unit: str, registry: CollectorRegistry = REGISTRY) -> None:
        self._here = (pool, unit)
        self._registry = registry
        self._claims = self._counter("claims_total", "Calls of the claim script.", "found")
        self._claimed = self._counter("claimed_jobs_total", "Jobs claimed.", "class", "why")
        self._steals = self._counter(
            "steals_total", "Jobs of the other class claimed.", "class", "why"
        )
        self._finished = self._counter("finished_jobs_total", "Attempts ended.", "class", "outcome")
        self._requeued = self._counter("requeued_jobs_total", "Jobs given back.", "reason")
        self._dead = self._counter("dead_jobs_total", "Jobs dead-lettered here.", "class")
        self._aborted = self._counter("aborted_jobs_total", "Calls aborted at the unit.", "reason")
        self._faults = self._counter("unit_faults_total", "Calls that the unit failed.", "fault")
        self._tokens = self._counter(
            "tokens_total", "Tokens of answered jobs, as the unit reports them.", "class", "kind"
        )
        self._relayed = {
            thing: self._counter(f"relayed_{thing}_total", text)[()]
            for thing, text in (
                ("parts", "Parts of answers sent to gateways."),
                ("batches", "Batches that they travelled in."),
                ("bytes", "Bytes of answers in them."),
            )
        }
        self._swept = self._counter("swept_gateways_total", "Dead gateways whose jobs ended.")[()]
        self._waited = self._histogram("queue_wait", "From submit to claim.")
        self._first_byte = self._histogram(
            "unit_first_byte", "From claim to the unit's first byte."
        )
        self._regret = Children(
            Histogram(
                "adasplit_steal_regret_seconds",
                "Time that short jobs lost to a steal.",
                ("pool", "unit"),
                buckets=SECONDS,
                registry=registry,
            ),
            *self._here,
        )[()]
        self._called = self._histogram("unit_call", "From claim to the end of the unit's answer.")
        self._tpot = self._histogram(
            "unit_tpot", "For each token after the first, of a stream that ended.", TOKEN_SECONDS
        )
        self._limited = self._counter(
            "online_limit_changes_total", "Changes of an online limit.", "class", "to"
        )
        self._start_at_0()

    def _start_at_0(self) -> None:
        """What alerts look at is there before the first case: growth from nothing is not seen."""
        for reason in _REASONS:
            _ = self._requeued[reason]
        for name in CLASSES:
            _ = self._dead[name]
        for found in ("some", "none"):
            _ = self._claims[found]

    def observe(self, running: RunningJobs, health: UnitHealth) -> None:
        """Show what runs and how the unit is; both are read when somebody looks."""
        in_flight = self._gauge("running_jobs", "Jobs at the unit now.", "class")
        for name in CLASSES:
            in_flight[name].set_function(partial(running.count, name))
        up = self._gauge("unit_up", "Whether the unit takes jobs.")
        up[()].set_function(lambda: health.up)
        trial = self._gauge("unit_on_trial", "Whether it gets one job at a time, after a fault.")
        trial[()].set_function(lambda: health.on_trial)

    def observe_limits(
        self, limit: Callable[[JobClass], int | None], tpot_s: Callable[[JobClass], float]
    ) -> None:
        """Show the online limits; 0 is none."""
        limits = self._gauge("online_limit_jobs", "Jobs that may be held, found online.", "class")
        tpots = self._gauge("online_tpot_seconds", "Time per output token of late.", "class")
        for name in CLASSES:
            limits[name].set_function(partial(_or_0, limit, name))
            tpots[name].set_function(partial(tpot_s, name))

    def claim(self, jobs: int) -> None:
        self._claims["some" if jobs else "none"].inc()

    def claimed(self, job_class: str, why: str, queue_s: float) -> None:
        self._claimed[job_class, why].inc()
        self._waited[job_class].observe(queue_s)
        if why in _STEALS:
            self._steals[job_class, why].inc()

    def first_byte(self, job_class: str, after_s: float) -> None:
        self._first_byte[job_class].observe(after_s)

    def weighed(self, regret_s: float) -> None:
        """A steal whose prefill is over, and what short jobs lost to it, all together."""
        self._regret.observe(regret_s)

    def answered(self, job_class: str, after_s: float, prompt: int, completion: int) -> None:
        """A whole answer, so long after its claim, of so many tokens; 0 is not said."""
        self._called[job_class].observe(after_s)
        if prompt:
            self._tokens[job_class, "prompt"].inc(prompt)
        if completion:
            self._tokens[job_class, "completion"].inc(completion)

    def streamed(self, job_class: str, tpot_s: float) -> None:
        """A stream that ended well, and its time for each token after the first."""
        self._tpot[job_class].observe(tpot_s)

    def limited(self, job_class: str, to: str) -> None:
        """An online limit went up or down."""
        self._limited[job_class, to].inc()

    def finished(self, job_class: str, outcome: str) -> None:
        self._finished[job_class, outcome].inc()

    def gave_back(self, job_class: str, status: str, reason: str) -> None:
        """A requeue, as the script answered it."""
        if status == "OK":
            self._requeued[reason].inc()
        elif status == "DEAD":
            self._dead[job_class].inc()

    def aborted(self, reason: str) -> None:
        self._aborted[reason].inc()

    def relayed(self, parts: int, length_bytes: int) -> None:
        """One batch."""
        self._relayed["batches"].inc()
        self._relayed["parts"].inc(parts)
        self._relayed["bytes"].inc(length_bytes)

    def fault(self, fault: str) -> None:
        self._faults[fault].inc()

    def swept(self) -> None:
        self._swept.inc()

    def _counter(self, name: str, text: str, *labels: str) -> Children[Counter]:
        names = ("pool", "unit", *labels)
        counter = Counter(f"adasplit_{name}", text, names, registry=self._registry)
        return Children(counter, *self._here)

    def _gauge(self, name: str, text: str, *labels: str) -> Children[Gauge]:
        names = ("pool", "unit", *labels)
        return Children(
            Gauge(f"adasplit_{name}", text, names, registry=self._registry), *self._here
        )

    def _histogram(
        self, thing: str, text: str, buckets: tuple[float, ...] = SECONDS
    ) -> Children[Histogram]:
        histogram = Histogram(
            f"adasplit_{thing}_seconds", text, ("pool", "unit", "class"),
            buckets=buckets, registry=self._registry,
        )  # fmt: skip
        return Children(histogram, *self._here)


def _or_0(limit: Callable[[JobClass], int | None], job_class: JobClass) -> int:
    return limit(job_class) or 0
