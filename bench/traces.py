"""Readers of public request logs: when each request came and how many tokens it took."""

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


def read_azure(path: Path) -> Iterator[TraceRow]:
    """Rows of a CSV with the columns TIMESTAMP, ContextTokens and GeneratedTokens."""
    with path.open(newline="", encoding="utf-8") as file:
        yield from _from_first(_parsed(path, _azure_row, enumerate(csv.DictReader(file), start=2)))


def read_mooncake(path: Path) -> Iterator[TraceRow]:
    """Rows of a JSON-lines file with `timestamp` (ms), `input_length` and `output_length`."""
    with path.open(encoding="utf-8") as file:
        yield from _from_first(_parsed(path, _mooncake_row, enumerate(file, start=1)))


def _azure_row(fields: Mapping[str, str]) -> TraceRow:
    at = datetime.fromisoformat(fields["TIMESTAMP"])
    # Only differences count, and in local time a change of the clock would be one.
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return TraceRow(at.timestamp(), int(fields["ContextTokens"]), int(fields["GeneratedTokens"]))


def _mooncake_row(text: str) -> TraceRow:
    fields = json.loads(text)
    return TraceRow(
        float(fields["timestamp"]) / 1000, int(fields["input_length"]), int(fields["output_length"])
    )


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
