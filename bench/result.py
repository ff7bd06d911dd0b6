"""The result of one run, as it is written: everything to repeat it, and all that it showed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from bench import figures
from bench.load import Load
from bench.objectives import Objectives
from bench.rows import Row, as_columns, from_columns
from bench.workload import Workload

FORMAT_VERSION = 2


class ResultError(Exception):
    """A file that is no result of a run; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class System:
    """What was measured: its name in reports, and how it can be had again."""

    name: str
    kind: str = "url"
    settings: Mapping[str, str] = field(default_factory=dict)
    units: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one system, played to its end. All times are in seconds of life.

    `speed` says how many times faster than life it was played; the times are already scaled back.
    `clock` is `virtual` where no time passed at all. `watch` is what `timeline.summary` gives.
    """

    system: System
    load: Load
    work: Workload
    rows: Sequence[Row]
    started_at: datetime
    model: str
    objectives: Objectives = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    clock: Literal["real", "virtual"] = "real"
    speed: float = 1.0
    interrupted: bool = False
    client: Mapping[str, Any] | None = None
    watch: Mapping[str, Any] | None = None
    counters: Mapping[str, Any] | None = None

    def result(self) -> dict[str, Any]:
        """As docs/benchmarks.md describes it, ready to be written as JSON."""
        rows = self.rows
        return {
            "bench": "run",
            "format": FORMAT_VERSION,
            "system": asdict(self.system),
            "started_at": self.started_at.isoformat(),
            "clock": self.clock,
            "speed": self.speed,
            "interrupted": self.interrupted,
            "load": asdict(self.load),
            "workload": self.work.described(),
            "model": self.model,
            "arguments": dict(self.arguments),
            "objectives": {name: dict(bounds) for name, bounds in self.objectives.items()},
            "span_s": figures.run_span_s(rows),
            "classes": figures.summarise(rows, self.objectives),
            "outcomes": figures.outcomes(rows),
            "answered_by": figures.per_target(rows),
            "class_by_tokens_and_said": figures.class_table(rows),
            "attempts": figures.attempts(rows),
            "client": self.client,
            "watch": self.watch,
            "counters": self.counters,
            "rows": as_columns(rows),
        }


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    path.write_bytes(orjson.dumps(result, default=str) + b"\n")


def read_result(path: Path) -> dict[str, Any]:
    """A result file, whole. Raises ResultError."""
    try:
        result = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise ResultError(f"{path} is not JSON: {error}") from error
    if not isinstance(result, dict) or result.get("bench") != "run":
        raise ResultError(f"{path} is no result of `adasplit bench run`")
    if result.get("format") != FORMAT_VERSION:
        raise ResultError(f"{path} is of format {result.get('format')}, not {FORMAT_VERSION}")
    return result


def rows_of(result: Mapping[str, Any]) -> list[Row]:
    return from_columns(result["rows"])
