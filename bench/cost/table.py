"""Prints what a run found, for a reader at a terminal."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.cost.cpu import of_system
from bench.table import number

_MS, _US = 1e3, 1e6
_ALL_OF_IT = 0.95
_Cell = Callable[[Mapping[str, Any]], str]


def _cell(figure: str, factor: float = 1.0, digits: int = 2) -> _Cell:
    """The median of the rounds, and half of the way from the least to the most."""

    def cell(figures: Mapping[str, Any]) -> str:
        low, middle, high = (figures[figure][name] * factor for name in ("min", "median", "max"))
        return f"{middle:,.{digits}f} ±{(high - low) / 2:,.{digits}f}"

    return cell


_TITLES = {
    "latency": "One request at a time, milliseconds",
    "throughput": "Requests side by side",
    "streams": "Streams side by side",
}
_COLUMNS: dict[str, dict[str, _Cell]] = {
    "latency": {
        "p50": _cell("p50_s", _MS),
        "p99": _cell("p99_s", _MS),
        "added p50": _cell("added_p50_s", _MS),
        "added p99": _cell("added_p99_s", _MS),
    },
    "throughput": {
        "requests/s": _cell("requests_per_s", 1, 0),
        "ratio": _cell("ratio", 1, 3),
        "CPU ms each": _cell("cpu_per_request_s", _MS, 3),
    },
    "streams": {
        "tokens/s": _cell("tokens_per_s", 1, 0),
        "CPU µs each": _cell("cpu_per_token_s", _US, 1),
        "gap p99 ms": _cell("gap_p99_s", _MS, 1),
        "added gap p99 ms": _cell("added_gap_p99_s", _MS, 1),
    },
}


def print_result(console: Console, result: Mapping[str, Any]) -> None:
    for stage in result["arguments"]["stages"]:
        console.print(_stage(stage, result["systems"]))
        console.print(_cores(stage, result["systems"]))
    for name, found in (result["hops"] or {}).items():
        console.print(_hops(name, found))
    for line in _idle_gateways(result):
        console.print(line, markup=False)
    console.print(f"median of {result['arguments']['rounds']} rounds ± half of their range")
    for name, reason in result["skipped"].items():
        console.print(f"{name} is left out: {reason}", markup=False)


def _stage(stage: str, systems: Mapping[str, Any]) -> Table:
    found = Table(title=_TITLES[stage])
    found.add_column("")
    for name in _COLUMNS[stage]:
        found.add_column(name, justify="right")
    for name, one in systems.items():
        figures = one["figures"][stage]
        found.add_row(name, *(cell(figures) for cell in _COLUMNS[stage].values()))
    return found


def _cores(stage: str, systems: Mapping[str, Any]) -> Table:
    """Who used how much of a core: what is close to one, or all together to all, is the limit."""
    each = "token" if stage == "streams" else "request"
    found = Table(title=f"{_TITLES[stage]}: who used the CPU")
    for name in ("", "processes", "share of a core", f"µs each {each}"):
        found.add_column(name, justify="left" if name in {"", "processes"} else "right")
    for name, one in systems.items():
        parts = one["figures"][stage]["parts"]
        for part, spent in parts.items():
            many = one["processes"].get(part, 1)
            found.add_row(name, part if many == 1 else f"{part} ({many})", *_share(spent))
            name = ""  # noqa: PLW2901  # it stands at the first of its rows
        own = of_system(parts).values()
        total = {key: sum(spent[key] for spent in own) for key in ("core_share", "each_s")}
        found.add_row("", "the system's", *_share(total), end_section=True)
    return found


def _idle_gateways(result: Mapping[str, Any]) -> Iterator[str]:
    """Whose gateways, held to a share of a core, left some of it: something else was the limit."""
    share = result["arguments"]["gateway_share"]
    if share == 1 or "throughput" not in result["arguments"]["stages"]:
        return
    for name, one in result["systems"].items():
        had = share * one["processes"].get("gateway", 0)
        used = one["figures"]["throughput"]["parts"].get("gateway", {}).get("core_share", 0.0)
        if used < _ALL_OF_IT * had:
            yield (
                f"{name}: gateways were not the limit, they used {used:.2f} of the {had:.2f} cores"
                " that they had. More --concurrency, or less --gateway-share"
            )


def _share(spent: Mapping[str, float]) -> tuple[str, str]:
    return f"{spent['core_share']:.2f}", f"{spent['each_s'] * _US:,.0f}"


def _hops(name: str, found: Mapping[str, Any]) -> Table:
    rows = Table(title=f"{name}: where the time of one request goes, µs")
    for column in ("", "p50", "p99"):
        rows.add_column(column, justify="right" if column else "left")
    for hop in found["hops"]:
        rows.add_row(hop["hop"], _us(hop["p50_s"]), _us(hop["p99_s"]))
    rows.add_section()
    rows.add_row("all of these", _us(sum(hop["p50_s"] for hop in found["hops"])), "")
    rows.add_row("a request that nobody watches", _us(found["p50_s"]), "")
    return rows


def _us(seconds: float | None) -> str:
    return number(None if seconds is None else seconds * _US, 0)
