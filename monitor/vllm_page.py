"""Reads the `/metrics` page of a vLLM server, by the names of newer and of older releases."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from monitor.histogram import Count, Histogram

# Of each, the newest name first: a page is read by the first that stands on it.
_SUMMED_GAUGES = {
    "running": ("vllm:num_requests_running",),
    "waiting": ("vllm:num_requests_waiting",),
}
_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_COUNTERS = {
    "prompt_tokens": ("vllm:prompt_tokens_total",),
    "generation_tokens": ("vllm:generation_tokens_total",),
    "requests": ("vllm:request_success_total",),
    "preemptions": ("vllm:num_preemptions_total",),
    "prefix_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    # The lowest bucket of its histogram ends at 0.3 s: a mean says more than a percentile.
    "queue_s": ("vllm:request_queue_time_seconds_sum",),
    "queued": ("vllm:request_queue_time_seconds_count",),
}
_ENDINGS = ("_total", "_sum", "_count")
_HISTOGRAMS = {
    "ttft": ("vllm:time_to_first_token_seconds",),
    "tpot": (
        "vllm:request_time_per_output_token_seconds",
        "vllm:time_per_output_token_seconds",
        "vllm:inter_token_latency_seconds",
    ),
    "e2e": ("vllm:e2e_request_latency_seconds",),
}


def _stem(name: str) -> str:
    return next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name)


def _all_names() -> frozenset[str]:
    groups: Iterable[tuple[str, ...]] = (
        *_SUMMED_GAUGES.values(), _USAGE, *_COUNTERS.values(), *_HISTOGRAMS.values(),
    )  # fmt: skip
    names = {name for group in groups for name in group}
    births = {f"{_stem(name)}_created" for name in names}
    return frozenset(names | births | {f"{name}_bucket" for name in names})


_WANTED = _all_names()


class NoMetricsError(ValueError):
    """The page is not one of vLLM's metrics."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one page says; a metric that does not stand on it is None or missing, never 0.

    Engines of one server count together; of their cache usages (0 to 1) the highest is given.
    """

    running: float | None = None
    waiting: float | None = None
    kv_cache_usage: float | None = None
    counts: Mapping[str, Count] = field(default_factory=lambda: MappingProxyType({}))
    histograms: Mapping[str, Histogram] = field(default_factory=lambda: MappingProxyType({}))


def read_page(text: str) -> Reading:
    """Raises NoMetricsError."""
    samples: dict[str, list[Sample]] = {}
    try:
        for family in _families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append(sample)
    except (ValueError, IndexError) as error:
        raise NoMetricsError(f"not a page of metrics: {error}") from error
    if not samples:
        raise NoMetricsError("the page has none of vLLM's metrics")
    sums = {name: _sum(samples, names) for name, names in _SUMMED_GAUGES.items()}
    usages = [sample.value for sample in _first(samples, _USAGE)]
    counts = {name: _count(samples, names) for name, names in _COUNTERS.items()}
    histograms = {name: _histogram(samples, names) for name, names in _HISTOGRAMS.items()}
    return Reading(
        **sums,
        kv_cache_usage=max(usages, default=None),
        counts={name: count for name, count in counts.items() if count is not None},
        histograms={name: found for name, found in histograms.items() if found is not None},
    )


def _families(text: str) -> Iterable[Metric]:
    # The parser takes 10 ms for a whole page: it gets only the lines that are wanted.
    lines = (line for line in text.splitlines() if _name(line) in _WANTED)
    return text_string_to_metric_families("\n".join(lines))


def _name(line: str) -> str:
    return line.partition("{")[0].partition(" ")[0]


def _first(samples: Mapping[str, list[Sample]], names: Iterable[str]) -> list[Sample]:
    """The samples of the first name that has any real ones."""
    for name in names:
        found = [sample for sample in samples.get(name, ()) if not math.isnan(sample.value)]
        if found:
            return found
    return []


def _sum(samples: Mapping[str, list[Sample]], names: Iterable[str]) -> float | None:
    found = _first(samples, names)
    return sum(sample.value for sample in found) if found else None


def _count(samples: Mapping[str, list[Sample]], names: Iterable[str]) -> Count | None:
    for name in names:
        total = _sum(samples, (name,))
        if total is not None:
            return Count(total, _made(samples, _stem(name)))
    return None


def _histogram(samples: Mapping[str, list[Sample]], names: Iterable[str]) -> Histogram | None:
    for name in names:
        counts: dict[float, float] = {}
        for sample in samples.get(f"{name}_bucket", ()):
            bound = float(sample.labels.get("le", "nan"))
            counts[bound] = counts.get(bound, 0.0) + sample.value
        if math.inf in counts:
            return Histogram(counts, _made(samples, name))
    return None


def _made(samples: Mapping[str, list[Sample]], name: str) -> float | None:
    births = [sample.value for sample in samples.get(f"{name}_created", ())]
    return max(births, default=None)
