"""A run's figures as a table for docs/benchmarks.md."""

from collections.abc import Iterator, Mapping
from typing import Any

_MS, _US = 1e3, 1e6
_COLUMNS = (
    ("added p50 ms", "latency", "added_p50_s", _MS, 2),
    ("added p99 ms", "latency", "added_p99_s", _MS, 2),
    ("requests/s", "throughput", "requests_per_s", 1.0, 0),
    ("ratio", "throughput", "ratio", 1.0, 3),
    ("CPU ms each request", "throughput", "cpu_per_request_s", _MS, 3),
    ("CPU µs each token", "streams", "cpu_per_token_s", _US, 0),
    ("added gap p99 ms", "streams", "added_gap_p99_s", _MS, 1),
)


def markdown(result: Mapping[str, Any]) -> Iterator[str]:
    """Lines; medians of the rounds, with the least and the most behind them."""
    columns = [each for each in _COLUMNS if each[1] in result["arguments"]["stages"]]
    yield "| | " + " | ".join(label for label, *_ in columns) + " |"
    yield "|---|" + "---:|" * len(columns)
    for name, one in result["systems"].items():
        cells = [
            _cell(one["figures"][stage][figure], factor, digits)
            for _, stage, figure, factor, digits in columns
        ]
        yield f"| {name} | " + " | ".join(cells) + " |"
    for name, found in (result["hops"] or {}).items():
        yield from _hops(name, found)


def _hops(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"| {name} | p50 µs | p99 µs |"
    yield "|---|---:|---:|"
    for hop in found["hops"]:
        yield f"| {hop['hop']} | {hop['p50_s'] * _US:.0f} | {hop['p99_s'] * _US:.0f} |"
    total_s = sum(hop["p50_s"] for hop in found["hops"])
    yield f"| all of these | {total_s * _US:.0f} | |"
    yield f"| a request that nobody watches | {found['p50_s'] * _US:.0f} | |"


def _cell(figure: Mapping[str, float], factor: float, digits: int) -> str:
    low, middle, high = (figure[name] * factor for name in ("min", "median", "max"))
    if not any((low, middle, high)):
        return ""
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"
