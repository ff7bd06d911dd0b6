"""Reads request logs: when each request came and how many tokens it took."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class TraceError(Exception):
    """A trace file that is not what it was said to be; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One logged request; `at_s` counts from the first row of its file."""

    at_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a CSV, or fields of JSON lines, hold what; `unit` is that of the time."""

    time: str
    prompt: str
    output: str
    unit: str = "s"


AZURE = Columns("TIMESTAMP", "ContextTokens", "GeneratedTokens", "iso")
"""Azure/AzurePublicDataset, AzureLLMInferenceTrace: CSV."""

MOONCAKE = Columns("timestamp", "input_length", "output_length", "ms")
"""kvcache-ai/Mooncake, FAST25-release/traces: JSON lines, arrivals in lumps of 3 s."""


def read_trace(path: Path, columns: Columns) -> Iterator[TraceRow]:
    """The rows of a CSV with a header, or of JSON lines, in the file's order. Raises TraceError."""
    when = UNITS[columns.unit]

    def row(fields: Mapping[str, Any]) -> TraceRow:
        return TraceRow(
            when(fields[columns.time]),
            _count(fields[columns.prompt]),
            _count(fields[columns.output]),
        )

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            start = file.read(1)
            file.seek(0)
            if start == "{":
                lines = _parsed(path, lambda text: row(json.loads(text)), enumerate(file, start=1))
            else:
                lines = _parsed(path, row, enumerate(csv.DictReader(file), start=2))
            yield from _from_first(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path} cannot be read: {error}") from error


def _iso_s(text: Any) -> float:
    at = datetime.fromisoformat(text)
    # Only differences count, and in local time a change of the clock would be one.
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.timestamp()


UNITS: dict[str, Callable[[Any], float]] = {
    "s": float,
    "ms": lambda text: float(text) / 1e3,
    "us": lambda text: float(text) / 1e6,
    "iso": _iso_s,
}
"""What a time column may be written in."""


def _count(text: Any) -> int:
    # Some logs write whole numbers as 12.0.
    return round(float(text))


def _parsed(
    path: Path, parse: Callable[[Any], TraceRow], lines: Iterator[tuple[int, Any]]
) -> Iterator[TraceRow]:
    for number, line in lines:
        try:
            yield parse(line)
        except KeyError as error:
            raise TraceError(f"{path}, line {number}: no field {error}") from error
        except (ValueError, TypeError) as error:
            raise TraceError(f"{path}, line {number}: {error}") from error


def _from_first(rows: Iterator[TraceRow]) -> Iterator[TraceRow]:
    start_s: float | None = None
    for row in rows:
        start_s = row.at_s if start_s is None else start_s
        yield replace(row, at_s=row.at_s - start_s)
