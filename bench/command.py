"""What the benchmark commands share at the command line: failures and result files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import typer

from bench.client import ServerError
from bench.cost.ports import NoPorts
from bench.result import ResultError
from bench.spec import SpecError
from bench.traces import TraceError


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """Say what the user can mend in one line on stderr, and exit with 1."""
    try:
        yield
    except (ServerError, SpecError, TraceError, ResultError, NoPorts) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def write_json(path: Path, result: dict[str, Any]) -> None:
    path.write_bytes(orjson.dumps(result, default=str, option=orjson.OPT_INDENT_2) + b"\n")
