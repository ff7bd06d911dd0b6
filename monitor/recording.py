"""A recording: one flat row for each unit and queue of each snapshot, as CSV or JSON lines."""

import csv
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import orjson

from monitor.snapshot import COLUMNS, Row, Snapshot

SUFFIXES = (".csv", ".jsonl")
_TEXTS = {"time", "kind", "name", "url", "role", "state"}
_NEEDED = {"time", "kind", "name"}
_TRUTHS = {"True": True, "False": False}


class RecordingError(Exception):
    """A recording that cannot be written or read; the message is one line."""


class Recorder:
    """Writes snapshots; each stands in the file when `write` returns."""

    def __init__(self, path: Path) -> None:
        """Raises RecordingError, also when the file is there already."""
        if path.suffix not in SUFFIXES:
            raise RecordingError(f"{path}: a recording ends in {' or '.join(SUFFIXES)}")
        try:
            self._file: TextIO = path.open("x", encoding="utf-8", newline="")
        except FileExistsError:
            raise RecordingError(f"{path} is there already: name another file") from None
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror}") from None
        self._csv = csv.DictWriter(self._file, COLUMNS) if path.suffix == ".csv" else None
        if self._csv:
            self._csv.writeheader()
        self.rows = 0

    def write(self, snapshot: Snapshot) -> None:
        for row in snapshot.rows():
            if self._csv:
                self._csv.writerow(row)
            else:
                self._file.write(json_line(row))
            self.rows += 1
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def json_line(row: Row) -> str:
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE).decode()


def read_recording(path: Path) -> list[Row]:
    """All rows; unknown is None, and so is a column of a later release, which is missing.

    A last line that was cut off is left out.

    Raises RecordingError.
    """
    if path.suffix not in SUFFIXES:
        raise RecordingError(f"{path}: a recording ends in {' or '.join(SUFFIXES)}")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(_csv_rows(file) if path.suffix == ".csv" else _json_rows(file))
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from None
    except (ValueError, csv.Error) as error:
        raise RecordingError(f"{path} is no recording: {error}") from None
    if not rows:
        raise RecordingError(f"{path} holds no sample")
    return rows


def _csv_rows(file: TextIO) -> Iterator[Row]:
    reader = csv.DictReader(file)
    if not set(reader.fieldnames or ()) >= _NEEDED:
        raise ValueError(f"it lacks one of the columns {', '.join(sorted(_NEEDED))}")
    for row in reader:
        # What a writer that was killed left unfinished lacks its last columns.
        if None not in row.values():
            yield {name: _value(name, text) for name, text in row.items()}


def _value(name: str, text: str) -> Any:
    if text == "":
        return None
    if name in _TEXTS:
        return text
    return _TRUTHS[text] if text in _TRUTHS else float(text)


def _json_rows(file: TextIO) -> Iterator[Row]:
    for line in file:
        if line.endswith("\n"):
            row = orjson.loads(line)
            if not isinstance(row, dict) or not row.keys() >= _NEEDED:
                raise ValueError(f"a line lacks one of {', '.join(sorted(_NEEDED))}")
            yield row
