"""What the benchmark commands share at the command line: arguments, failures, result files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from bench.client import ServerError, base_url
from bench.traces import TraceError


def parsed_url(text: str) -> str:
    try:
        return base_url(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def parsed_count(text: str) -> int | None:
    """A number above 0, or None for the word `none`."""
    if text == "none":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"{text} is neither none nor a number above 0")


def _folder_is_there(path: Path | None) -> Path | None:
    # Said before the run: afterwards its result would be lost.
    if path is not None and not path.parent.is_dir():
        raise typer.BadParameter(f"{path.parent} is not a folder")
    return path


Out = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        writable=True,
        callback=_folder_is_there,
        help="Write the result here, as JSON.",
    ),
]


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """Say what the user can mend in one line on stderr, and exit with 1."""
    try:
        yield
    except (ServerError, TraceError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def write_json(path: Path, result: dict[str, Any]) -> None:
    path.write_bytes(orjson.dumps(result, default=str, option=orjson.OPT_INDENT_2) + b"\n")
