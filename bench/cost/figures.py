"""What the rounds of a run say: medians, their spread, and the distance to the direct way."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from bench.cost.cpu import of_system

Round = Mapping[str, Mapping[str, Any]]
"""One round of one system: what each stage found."""

Figure = Callable[[Mapping[str, Any], Mapping[str, Any]], float]
"""A figure of a stage, from what it found of the system and of the direct way."""


def _per_s(found: Mapping[str, Any]) -> float:
    return float(found["requests"] / found["span_s"])


def _system_cpu_s(found: Mapping[str, Any]) -> float:
    return float(sum(of_system(found["cpu_s"]).values()))


_FIGURES: dict[str, dict[str, Figure]] = {
    "latency": {
        "p50_s": lambda one, _: one["p50_s"],
        "p99_s": lambda one, _: one["p99_s"],
        "added_p50_s": lambda one, direct: one["p50_s"] - direct["p50_s"],
        "added_p99_s": lambda one, direct: one["p99_s"] - direct["p99_s"],
        "p50_ratio": lambda one, direct: one["p50_s"] / direct["p50_s"],
        "cpu_per_request_s": lambda one, _: _system_cpu_s(one) / one["requests"],
    },
    "throughput": {
        "requests_per_s": lambda one, _: _per_s(one),
        "ratio": lambda one, direct: _per_s(one) / _per_s(direct),
        "cpu_per_request_s": lambda one, _: _system_cpu_s(one) / one["requests"],
    },
    "streams": {
        "tokens_per_s": lambda one, _: one["tokens"] / one["span_s"],
        "cpu_per_token_s": lambda one, _: _system_cpu_s(one) / one["tokens"],
        "gap_p50_s": lambda one, _: one["gap_p50_s"],
        "gap_p99_s": lambda one, _: one["gap_p99_s"],
        "added_gap_p99_s": lambda one, direct: one["gap_p99_s"] - direct["gap_p99_s"],
    },
}


def summarised(rounds: Sequence[Round], direct: Sequence[Round]) -> dict[str, Any]:
    """Of every stage: its figures, and the CPU of each part.

    A figure is the median over the rounds, with the least and the most; CPU the median share of a
    core, and the seconds for one request or token.
    """
    return {
        stage: {
            **{
                name: _spread(
                    [
                        figure(one[stage], way[stage])
                        for one, way in zip(rounds, direct, strict=True)
                    ]
                )
                for name, figure in _FIGURES[stage].items()
            },
            "parts": _parts([one[stage] for one in rounds]),
        }
        for stage in rounds[0]
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def _parts(found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    return {
        part: {
            "core_share": median(one["cpu_s"][part] / one["span_s"] for one in found),
            "each_s": median(one["cpu_s"][part] / _count(one) for one in found),
        }
        for part in found[0]["cpu_s"]
    }


def _count(found: Mapping[str, Any]) -> int:
    return int(found["tokens"] if "tokens" in found else found["requests"])
