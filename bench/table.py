"""Prints the result of a run for a reader at a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.objectives import in_words

_COUNTS = ("n", "ok", "refused", "errors", "retries")
_LABELS = {"n": "requests"}
_TIMES = (
    ("TTFT s", "ttft_s", ("p50", "p90", "p99"), 1.0, 2),
    ("TPOT ms", "tpot_s", ("p50", "p90", "p99"), 1000.0, 1),
    ("worst gap ms", "worst_gap_s", ("p50", "p99"), 1000.0, 0),
    ("E2E s", "e2e_s", ("p50", "p99"), 1.0, 1),
    ("queue s", "queue_s", ("p50", "p99"), 1.0, 2),
)


def print_result(console: Console, result: Mapping[str, Any]) -> None:
    console.print(summary_table(result["classes"]))
    if result["objectives"]:
        console.print(f"objectives: {in_words(result['objectives'])}")
    if result["speed"] != 1:
        console.print(f"units {result['speed']:g} times faster than life; times scaled back")
    console.print(f"outcomes: {_counts(result['outcomes'])}")
    console.print(f"answered by: {_counts(result['answered_by'])}")
    console.print(f"load: {result['workload']['digest'][:12]}")
    if watch := result["watch"]:
        _print_watch(console, watch)
    if counters := result["counters"]:
        _print_counters(console, counters)
    if client := result["client"]:
        _print_client(console, client)


def in_a_line(result: Mapping[str, Any]) -> str:
    """A whole run in one line, for a list of several."""
    parts = [_counts(result["outcomes"])]
    for name, figures in result["classes"].items():
        if good := figures["goodput"]:
            parts.append(f"goodput {name} {number(good['share'], 3)}")
    warnings = (result["client"] or {}).get("warnings", ())
    parts += [f"the client was the bottleneck: {one}" for one in warnings]
    return "; ".join(parts)


def summary_table(classes: Mapping[str, Any]) -> Table:
    """A column per class: so it fits a narrow terminal, however many figures there are."""
    table = Table(title="Times of requests that ended ok, from when they were due")
    table.add_column("")
    for name in classes:
        table.add_column(name, justify="right")
    for key in _COUNTS:
        label = _LABELS.get(key, key)
        table.add_row(label, *(str(figures[key]) for figures in classes.values()))
    for label, key, ranks, factor, digits in _TIMES:
        for rank in ranks:
            values = (figures[key][rank] for figures in classes.values())
            cells = (number(_times(value, factor), digits) for value in values)
            table.add_row(f"{label} {rank}", *cells)
    for label, key, digits in (("req/s", "requests_per_s", 2), ("tok/s", "output_tokens_per_s", 0)):
        table.add_row(label, *(number(figures[key], digits) for figures in classes.values()))
    if any(figures.get("start_estimates") for figures in classes.values()):
        _add_estimates(table, classes)
    if any(figures["goodput"] for figures in classes.values()):
        _add_goodput(table, classes)
    return table


def number(value: float | None, digits: int) -> str:
    """A figure, or a dash for one that was not seen."""
    return "-" if value is None else f"{value:.{digits}f}"


def _add_estimates(table: Table, classes: Mapping[str, Any]) -> None:
    told = [figures.get("start_estimates") or {} for figures in classes.values()]
    table.add_row("estimates of start", *(str(one.get("n", "-")) for one in told))
    table.add_row("within 20 %", *(number(one.get("share"), 3) for one in told))
    table.add_row("or 0.25 s", *(number(one.get("share_with_near"), 3) for one in told))


def _add_goodput(table: Table, classes: Mapping[str, Any]) -> None:
    for label, key, digits in (("goodput", "share", 3), ("goodput req/s", "per_s", 2)):
        goods = (figures["goodput"] or {} for figures in classes.values())
        table.add_row(label, *(number(good.get(key), digits) for good in goods))


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
    for name, parts in (("flips", "flips_by_role"), ("steals", "steals_by_reason")):
        shares = {part: number(count, 0) for part, count in counters[parts].items()}
        console.print(f"{name} counted: {number(counters[name], 0)} ({_counts(shares)})")
    if counters["unread"]:
        console.print(f"pages not read: {', '.join(counters['unread'])}", style="red")


def _print_client(console: Console, client: Mapping[str, Any]) -> None:
    late_ms = number(_times(client["send_lag_p99_s"], 1000), 1)
    console.print(f"the client: p99 {late_ms} ms late, {client['cpu_share']:.0%} of a core")
    for warning in client["warnings"]:
        console.print(f"the client was the bottleneck: {warning}", style="bold red")
