"""What a request must meet to count as good: bounds on its times, per class."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.rows import Row

Objectives = Mapping[str, Mapping[str, float]]
"""`{"short": {"ttft_s": 1.0, "tpot_s": 0.1}}`: seconds, by the times of a row."""

_TIMES = {
    "ttft": "ttft_s",
    "tpot": "tpot_s",
    "gap": "worst_gap_s",
    "e2e": "e2e_s",
    "queue": "queue_s",
}
_SPEC = re.compile(r"(?P<size_class>[a-z]+):(?P<bounds>.+)")


@dataclass(frozen=True, slots=True)
class Goodput:
    """How many requests met every objective of their class; refused and failed ones did not."""

    good: int
    share: float | None
    per_s: float | None


def read_objective(text: str) -> tuple[str, dict[str, float]]:
    """`short:ttft=1,tpot=0.1` as a class and its bounds in seconds. Raises ValueError."""
    found = _SPEC.fullmatch(text)
    if not found:
        raise ValueError(f"{text} is no objective; one is given as short:ttft=1,tpot=0.1")
    bounds = dict(_bound(pair) for pair in found["bounds"].split(","))
    return found["size_class"], bounds


def read_objectives(texts: Iterable[str]) -> dict[str, dict[str, float]]:
    """Several objectives; those of one class are joined. Raises ValueError."""
    joined: dict[str, dict[str, float]] = {}
    for text in texts:
        size_class, bounds = read_objective(text)
        joined.setdefault(size_class, {}).update(bounds)
    return joined


def goodput(rows: Iterable[Row], objectives: Objectives, span_s: float) -> Goodput | None:
    """The goodput of these rows; None when no class among them has an objective.

    An answer of one token has no time per token, and so cannot miss that objective.
    """
    judged = [row for row in rows if row.order.size_class in objectives]
    if not judged:
        return None
    good = sum(_met(row, objectives[row.order.size_class]) for row in judged)
    return Goodput(good, good / len(judged), good / span_s if span_s else None)


def in_words(objectives: Objectives) -> str:
    """`short: TTFT ≤ 1 s, TPOT ≤ 100 ms` for a reader."""
    names = {key: name.upper() if name != "gap" else "gap" for name, key in _TIMES.items()}
    parts = [
        f"{size_class}: {', '.join(f'{names[key]} ≤ {_time(most)}' for key, most in own.items())}"
        for size_class, own in objectives.items()
    ]
    return "; ".join(parts) or "none"


def _met(row: Row, bounds: Mapping[str, float]) -> bool:
    if not row.ok:
        return False
    times: dict[str, Any] = {key: getattr(row, key) for key in bounds}
    return all(times[key] is None or times[key] <= most for key, most in bounds.items())


def _bound(pair: str) -> tuple[str, float]:
    name, equals, text = pair.partition("=")
    if not equals or name not in _TIMES:
        raise ValueError(
            f"{pair} is no bound; one is given as TIME=SECONDS, of {', '.join(_TIMES)}"
        )
    try:
        most_s = float(text)
    except ValueError:
        most_s = 0.0
    if not most_s > 0:
        raise ValueError(f"{text} is no number of seconds above 0")
    return _TIMES[name], most_s


def _time(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"
