"""One planned request and what became of it; a run is a list of these."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Order:
    """One request as it was planned; times count from the start of the run."""

    index: int
    source: str
    size_class: str
    url: str
    intended_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(slots=True)
class Row:
    """What became of one order. Times are on the clock of the order; None was not seen.

    `outcome` is None until the one end of the request is known, and is then never written again.
    """

    order: Order
    outcome: str | None = None
    sent_s: float | None = None
    first_token_s: float | None = None
    end_s: float | None = None
    tpot_s: float | None = None
    worst_gap_s: float | None = None
    queue_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    token_events: int = 0
    retries: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def end(self, outcome: str, at_s: float) -> None:
        if self.outcome is not None:
            raise RuntimeError(f"request {self.order.index} ended as {self.outcome} and {outcome}")
        self.outcome = outcome
        self.end_s = at_s

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"

    @property
    def refused(self) -> bool:
        """Turned away at the door: nothing of it was computed."""
        return (self.outcome or "").startswith(("http_429:", "http_503:"))

    @property
    def ttft_s(self) -> float | None:
        """From when it should have been sent, so that a late client cannot flatter the server."""
        return None if self.first_token_s is None else self.first_token_s - self.order.intended_s

    @property
    def e2e_s(self) -> float | None:
        return None if self.end_s is None else self.end_s - self.order.intended_s

    @property
    def lag_s(self) -> float | None:
        return None if self.sent_s is None else self.sent_s - self.order.intended_s


_PLAN = {
    "source": "source",
    "class": "size_class",
    "due_s": "intended_s",
    "asked_prompt_tokens": "prompt_tokens",
    "asked_output_tokens": "output_tokens",
}
_SEEN = (
    *("outcome", "sent_s", "first_token_s", "end_s", "tpot_s", "worst_gap_s", "queue_s"),
    *("prompt_tokens", "output_tokens", "token_events", "retries"),
)
_SAID = ("unit", "class", "attempt", "job")
_DIGITS = 6


def as_columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """All rows as they stand in a result file: one list per column, in the order of the plan."""
    columns = {name: [getattr(row.order, of) for row in rows] for name, of in _PLAN.items()}
    columns |= {name: [getattr(row, name) for row in rows] for name in _SEEN}
    columns |= {f"said_{name}": [row.headers.get(name) for row in rows] for name in _SAID}
    return {name: [_short(value) for value in column] for name, column in columns.items()}


def from_columns(columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    """The rows of a result file. Raises KeyError or ValueError when it has no whole rows."""
    names = [*_PLAN, *_SEEN, *(f"said_{name}" for name in _SAID)]
    cells = zip(*(columns[name] for name in names), strict=True)
    return [_row(index, dict(zip(names, one, strict=True))) for index, one in enumerate(cells)]


def classes_of(rows: Iterable[Row]) -> list[str]:
    """The classes that occur, `short` before `long`."""
    return sorted({row.order.size_class for row in rows}, reverse=True)


def _row(index: int, cells: Mapping[str, Any]) -> Row:
    planned = {of: cells[name] for name, of in _PLAN.items()}
    seen = {name: cells[name] for name in _SEEN}
    said = {name: cells[f"said_{name}"] for name in _SAID if cells[f"said_{name}"] is not None}
    return Row(Order(index=index, url="", **planned), **seen, headers=said)


def _short(value: Any) -> Any:
    # Microseconds are finer than any clock here, and digits are most of a file's size.
    return round(value, _DIGITS) if isinstance(value, float) else value
