"""Sets results of the same load side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.figures import ALL, summarise
from bench.objectives import Objectives
from bench.result import ResultError, rows_of
from bench.rows import Row, classes_of

_DIGEST_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Entry:
    """One system: its result, its rows, and its figures under the comparison's objectives."""

    name: str
    result: Mapping[str, Any]
    rows: Sequence[Row]
    classes: Mapping[str, Any]

    def rows_of_class(self, size_class: str) -> list[Row]:
        return [row for row in self.rows if row.order.size_class == size_class]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several systems under one load."""

    entries: Sequence[Entry]
    objectives: Objectives

    @property
    def classes(self) -> list[str]:
        """Classes that occur, and `all` when there are several."""
        found = classes_of(self.entries[0].rows)
        return [*found, ALL] if len(found) > 1 else found

    @property
    def notes(self) -> list[str]:
        """What a reader must know before trusting the figures."""
        found = []
        speeds = {f"{one.result['speed']:g}" for one in self.entries}
        if len(speeds) > 1:
            found.append(f"not all ran at the same speed: {', '.join(sorted(speeds))}")
        for entry in self.entries:
            found += [
                f"{entry.name}: the client was the bottleneck: {warning}"
                for warning in (entry.result["client"] or {}).get("warnings", ())
            ]
            if entry.result["interrupted"]:
                found.append(f"{entry.name}: the run was interrupted")
        return found


def compared(
    results: Sequence[Mapping[str, Any]], objectives: Objectives | None = None
) -> Comparison:
    """Results of one load, judged by the given objectives, else by those of the first.

    Raises ResultError when they cannot be compared.
    """
    if not results:
        raise ResultError("there is no result to report")
    _check_same_load(results)
    wanted = results[0]["objectives"] if objectives is None else objectives
    names = _names(results)
    entries = []
    for name, result in zip(names, results, strict=True):
        rows = rows_of(result)
        entries.append(Entry(name, result, rows, summarise(rows, wanted)))
    return Comparison(entries, wanted)


def _check_same_load(results: Sequence[Mapping[str, Any]]) -> None:
    first = results[0]
    for other in results[1:]:
        if _digest(other) != _digest(first):
            raise ResultError(
                f"{_name(first)} and {_name(other)} met different loads"
                f" ({_digest(first)[:_DIGEST_SHOWN]} and {_digest(other)[:_DIGEST_SHOWN]}):"
                " only results with equal digests can be compared"
            )
        if _threshold(other) != _threshold(first):
            raise ResultError(
                f"{_name(first)} and {_name(other)} call prompts long from {_threshold(first)} and"
                f" {_threshold(other)} tokens on: their classes cannot be compared"
            )


def _names(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each system's name, with a number behind one that stands there already."""
    names: list[str] = []
    for result in results:
        name, number = _name(result), 2
        while name in names:
            name, number = f"{_name(result)} ({number})", number + 1
        names.append(name)
    return names


def _name(result: Mapping[str, Any]) -> str:
    return str(result["system"]["name"])


def _digest(result: Mapping[str, Any]) -> str:
    return str(result["workload"]["digest"])


def _threshold(result: Mapping[str, Any]) -> int:
    return int(result["load"]["long_threshold_tokens"])
