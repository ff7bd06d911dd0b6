"""What the metrics of all processes have in common; docs/metrics.md lists every one."""

from importlib.metadata import version
from typing import Any, Generic, TypeVar, cast

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Buckets for what a request waits for: from a cached prefill to the longest deadline."""

TOKEN_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
"""Buckets for the time that one token of a stream takes."""

BUILD = Gauge("adasplit_build_info", "Always 1; what runs here.", ["process", "version"])
REDIS_CALLS = Histogram(
    "adasplit_redis_call_seconds",
    "Round trips to Redis that were answered: a script's name, or turn, command, commands.",
    ["call"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5),
)
REDIS_OUTAGES = Counter("adasplit_redis_outages_total", "Redis calls that found it away.", ["duty"])
LOOP_LAG = Histogram(
    "adasplit_event_loop_lag_seconds",
    "How late the event loop wakes up who asked for it.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)

_Metric = TypeVar("_Metric", bound=MetricWrapperBase)


class Children(dict[str | tuple[str, ...], _Metric], Generic[_Metric]):
    """A metric's children by their last labels, each looked up once.

    A look-up by name costs several times what counting does. `first`: the labels that all share.
    """

    def __init__(self, metric: _Metric, *first: str) -> None:
        super().__init__()
        self._metric = metric
        self._first = first

    def __missing__(self, last: str | tuple[str, ...]) -> _Metric:
        labels = (last,) if isinstance(last, str) else last
        child: Any = self._metric.labels(*self._first, *labels)
        self[last] = child
        return cast("_Metric", child)


REDIS_CALL = Children(REDIS_CALLS)


def start_metrics(process: str) -> None:
    """Say what runs here. Call once, before any metric counts."""
    # When each series began is a series more for each, and nothing here asks for it.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # left untyped upstream
    BUILD.labels(process, version("adasplit")).set(1)
