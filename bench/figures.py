"""Turns the rows of a run into figures per class: percentiles, rates, outcomes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from bench.estimates import start_estimates
from bench.objectives import Objectives, goodput
from bench.rows import Row, classes_of
from bench.stats import spread

ALL = "all"


def summarise(
    rows: Sequence[Row], objectives: Objectives | None = None
) -> dict[str, dict[str, Any]]:
    """Figures for `short`, `long` and `all`, in seconds; times only of requests that ended `ok`.

    Rates divide by the time from the first intended send to the last end, the same for each class.
    """
    span_s = run_span_s(rows)
    names = classes_of(rows)
    groups = {name: [row for row in rows if row.order.size_class == name] for name in names}
    return {
        name: _figures(group, span_s, objectives or {})
        for name, group in {**groups, ALL: rows}.items()
    }


def run_span_s(rows: Iterable[Row]) -> float:
    ends = [row.end_s for row in rows if row.end_s is not None]
    starts = [row.order.intended_s for row in rows]
    return max(ends) - min(starts) if ends and starts else 0.0


def outcomes(rows: Iterable[Row]) -> dict[str, int]:
    """How many requests ended in each way, the most frequent first."""
    return dict(Counter(row.outcome or "none" for row in rows).most_common())


def per_target(rows: Iterable[Row]) -> dict[str, int]:
    """How many requests each unit answered; the address stands in for a unit that gave no name."""
    return dict(sorted(Counter(row.headers.get("unit", row.order.url) for row in rows).items()))


def class_table(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """The class by prompt tokens against the gateway's, `unsaid` where it gave none."""
    table: dict[str, Counter[str]] = {}
    for row in rows:
        said = row.headers.get("class", "unsaid")
        table.setdefault(row.order.size_class, Counter())[said] += 1
    return {name: dict(sorted(counts.items())) for name, counts in sorted(table.items())}


def attempts(rows: Iterable[Row]) -> dict[str, int]:
    return dict(sorted(Counter(row.headers.get("attempt", "unsaid") for row in rows).items()))


def _figures(rows: Sequence[Row], span_s: float, objectives: Objectives) -> dict[str, Any]:
    ok = [row for row in rows if row.ok]
    refused = sum(row.refused for row in rows)
    good = goodput(rows, objectives, span_s)
    return {
        "n": len(rows),
        "ok": len(ok),
        "refused": refused,
        "errors": len(rows) - len(ok) - refused,
        "retries": sum(row.retries for row in rows),
        "goodput": asdict(good) if good else None,
        "ttft_s": spread(row.ttft_s for row in ok),
        "ttft_from_sent_s": spread(_since_sent(row, row.first_token_s) for row in ok),
        "tpot_s": spread(row.tpot_s for row in ok),
        "worst_gap_s": spread(row.worst_gap_s for row in ok),
        "e2e_s": spread(row.e2e_s for row in ok),
        "e2e_from_sent_s": spread(_since_sent(row, row.end_s) for row in ok),
        "queue_s": spread(row.queue_s for row in ok),
        "start_estimates": start_estimates(rows),
        "requests_per_s": len(ok) / span_s if span_s else None,
        "output_tokens_per_s": sum(row.output_tokens or 0 for row in ok) / span_s
        if span_s
        else None,
        "outcomes": outcomes(rows),
    }


def _since_sent(row: Row, at_s: float | None) -> float | None:
    return None if at_s is None or row.sent_s is None else at_s - row.sent_s
