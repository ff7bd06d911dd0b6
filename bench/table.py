"""Prints the result of a replay for a reader at a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS = (
    ("TTFT s", "ttft_s", ("p50", "p90", "p99"), 1.0, 2),
    ("TPOT ms", "tpot_s", ("p50", "p90", "p99"), 1000.0, 1),
    ("gap ms", "worst_gap_s", ("p50", "p99"), 1000.0, 0),
    ("E2E s", "e2e_s", ("p50", "p99"), 1.0, 1),
)


def print_result(console: Console, result: Mapping[str, Any]) -> None:
    console.print(summary_table(result["classes"]))
    console.print(f"outcomes: {_counts(result['outcomes'])}")
    console.print(f"answered by: {_counts(result['answered_by'])}")
    if watch := result["watch"]:
        _print_watch(console, watch)
    if counters := result["counters"]:
        _print_counters(console, counters)
    for warning in result["client"]["warnings"]:
        console.print(f"the client was the bottleneck: {warning}", style="bold red")


def summary_table(classes: Mapping[str, Any]) -> Table:
    table = Table(title="Times of requests that ended ok, from when they were due")
    for name in ("class", "n", "ok", "errors"):
        table.add_column(name, justify="right")
    for title, _, ranks, _, _ in _COLUMNS:
        for rank in ranks:
            table.add_column(f"{title}\n{rank}", justify="right")
    table.add_column("req/s", justify="right")
    table.add_column("tok/s", justify="right")
    for name, figures in classes.items():
        table.add_row(name, *_cells(figures))
    return table


def number(value: float | None, digits: int) -> str:
    """A figure, or a dash for one that was not seen."""
    return "-" if value is None else f"{value:.{digits}f}"


def _cells(figures: Mapping[str, Any]) -> list[str]:
    cells = [str(figures[name]) for name in ("n", "ok", "errors")]
    for _, key, ranks, factor, digits in _COLUMNS:
        cells += [number(_times(figures[key][rank], factor), digits) for rank in ranks]
    cells.append(number(figures["requests_per_s"], 2))
    cells.append(number(figures["output_tokens_per_s"], 0))
    return cells


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _counts(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _print_watch(console: Console, watch: Mapping[str, Any]) -> None:
    loads = {name: number(load, 3) for name, load in watch["max_load"].items()}
    console.print(f"highest load seen per unit (must stay ≤ 1): {_counts(loads)}")
    console.print(f"deepest queues: {_counts(watch['max_depth'])}")
    console.print(f"flips seen, by new role: {_counts(watch['flips_seen'])}")
    console.print(f"all zero at the end: {watch['all_zero_at_end']}")
    console.print(f"polls: {watch['polls']}, failed: {watch['failed_polls']}")


def _print_counters(console: Console, counters: Mapping[str, Any]) -> None:
    console.print(f"steals: {number(counters['steals'], 0)}")
    console.print(f"flips: {_counts(counters['flips'])}")
    if counters["unread"]:
        console.print(f"pages not read: {', '.join(counters['unread'])}", style="red")
