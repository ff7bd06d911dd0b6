"""Turns the rows of a run into figures per class: percentiles, rates, outcomes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from bench.client import Row
from bench.stats import spread

ALL = "all"


def summarise(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Figures for `short`, `long` and `all`, in seconds; times only of requests that ended `ok`.

    Rates divide by the time from the first intended send to the last end, the same for each class.
    """
    span_s = run_span_s(rows)
    classes = sorted({row.order.size_class for row in rows}, reverse=True)
    groups = {name: [row for row in rows if row.order.size_class == name] for name in classes}
    return {name: _figures(group, span_s) for name, group in {**groups, ALL: rows}.items()}


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


def flat(row: Row) -> dict[str, Any]:
    """One row as it stands in a result file."""
    fields = asdict(row)
    order, headers = fields.pop("order"), fields.pop("headers")
    asked = {"asked_prompt_tokens": "prompt_tokens", "asked_output_tokens": "output_tokens"}
    renamed = {name: order.pop(field) for name, field in asked.items()}
    said = {f"said_{name.replace('-', '_')}": text for name, text in sorted(headers.items())}
    return {**order, **renamed, **fields, "ttft_s": row.ttft_s, "e2e_s": row.e2e_s, **said}


def _figures(rows: Sequence[Row], span_s: float) -> dict[str, Any]:
    ok = [row for row in rows if row.ok]
    return {
        "n": len(rows),
        "ok": len(ok),
        "errors": len(rows) - len(ok),
        "ttft_s": spread(row.ttft_s for row in ok),
        "ttft_from_sent_s": spread(_since_sent(row, row.first_token_s) for row in ok),
        "tpot_s": spread(row.tpot_s for row in ok),
        "worst_gap_s": spread(row.worst_gap_s for row in ok),
        "e2e_s": spread(row.e2e_s for row in ok),
        "e2e_from_sent_s": spread(_since_sent(row, row.end_s) for row in ok),
        "queue_s": spread(_queue_s(row) for row in ok),
        "requests_per_s": len(ok) / span_s if span_s else None,
        "output_tokens_per_s": sum(row.output_tokens or 0 for row in ok) / span_s
        if span_s
        else None,
        "outcomes": outcomes(rows),
    }


def _since_sent(row: Row, at_s: float | None) -> float | None:
    return None if at_s is None or row.sent_s is None else at_s - row.sent_s


def _queue_s(row: Row) -> float | None:
    """What the gateway said the job waited; None when it gave no number."""
    try:
        return float(row.headers["queue-ms"]) / 1000
    except (KeyError, ValueError):
        return None
