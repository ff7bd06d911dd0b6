"""`adasplit bench knee`: how many requests at a time a unit is best given, per class."""

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
import uvloop

from bench import options
from bench.client import ServerError
from bench.closedloop import Point, Shape
from bench.command import failures_in_one_line, write_json
from bench.sweep import Sweep, read_points, result, sweep

if TYPE_CHECKING:
    from bench.kneepoint import Knee

CLASSES = ("short", "long")
_Tokens = typer.Option(metavar="PROMPT/OUTPUT", help="Tokens of each request of the class.")
_Tried = typer.Option(metavar="N,N,…", help="How many at a time, for the class.")


def knee(
    *,
    unit: Annotated[
        str | None,
        typer.Option(parser=options.parsed_url, help="The unit; by default one is simulated."),
    ] = None,
    short: Annotated[str, _Tokens] = "600/200",
    long: Annotated[str, _Tokens] = "16000/256",
    short_tried: Annotated[str, _Tried] = "1,2,4,8,16,32,64,96,128",
    long_tried: Annotated[str, _Tried] = "1,2,4,6,8,12,16",
    only: Annotated[str | None, typer.Option(help="Only this class: short or long.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Of the whole sweep.")] = 3,
    per_client: Annotated[int, typer.Option(min=1, help="Requests counted of each client.")] = 2,
    at_least: Annotated[int, typer.Option(min=1, help="Requests counted at each point.")] = 6,
    model: Annotated[
        str | None, typer.Option(help="Default: the first that /v1/models lists.")
    ] = None,
    api_key: Annotated[
        str, typer.Option(envvar="OPENAI_API_KEY", help="Sent as a bearer token.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Decides prompts and resamples.")] = 1,
    timeout_s: options.TimeoutS = 1800,
    speed: Annotated[
        float,
        typer.Option(
            min=0.01, help="How many times faster than life the unit runs; times are scaled back."
        ),
    ] = 1,
    points: Annotated[
        Path | None, typer.Option(help="Measure nothing: look at the points of this result.")
    ] = None,
    out: options.Out = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves here, as PNG.")] = None,
    env: Annotated[
        Path | None, typer.Option(help="Write the settings here, to be sourced.")
    ] = None,
) -> None:
    """Find, per class, from how many requests at a time on a unit's throughput grows no more.

    A closed loop at each number, in repeats; the Universal Scalability Law is fitted to what it
    gave. Where throughput still grows at the end of the sweep no knee is made up.
    """
    _check_folders(plot, env)
    shapes = {"short": _shape("short", short), "long": _shape("long", long)}
    tried = {"short": _numbers("short", short_tried), "long": _numbers("long", long_tried)}
    with failures_in_one_line():
        _check_libraries()
        if points:
            _judge(_read(points), str(points), {}, seed, out=out, plot=plot, env=env)
            return
        with _unit(unit, speed) as url:
            wanted = Sweep(
                url=url,
                shapes=tuple(shapes[name] for name in _classes(only)),
                concurrencies=tried,
                repeats=repeats,
                per_client=per_client,
                at_least=at_least,
                model=model,
                seed=seed,
                timeout_s=timeout_s,
                speed=speed,
            )
            if speed != 1:
                typer.echo(f"the unit runs at speed {speed:g}: all times are scaled back to life")
            started_at = datetime.now(UTC)
            swept = uvloop.run(sweep(wanted, typer.echo, api_key=api_key))
        measured = {"started_at": started_at, **result(wanted, swept)}
        if swept.interrupted:
            typer.echo("interrupted: what follows is of what was measured until then", err=True)
        for warning in swept.client.warnings():
            typer.echo(f"the client was the bottleneck: {warning}", err=True)
        source = f"{swept.model} at {unit or 'a simulated unit'}"
        _judge(swept.points, source, measured, seed, out=out, plot=plot, env=env)


def _judge(
    points: list[Point],
    source: str,
    measured: dict[str, Any],
    seed: int,
    *,
    out: Path | None,
    plot: Path | None,
    env: Path | None,
) -> None:
    """Find the knees, and say, write and draw them. Raises ServerError when there are none."""
    # Only who measures waits for scipy and matplotlib, and `adasplit` has commands without them.
    from bench import knee_report  # noqa: PLC0415

    knees = _knees(points, seed)
    if out:
        found = [knee_report.as_json(one) for one in knees]
        write_json(out, {"bench": "knee", "source": source, "knees": found, **measured})
    if not knees:
        raise ServerError("no class has points enough for a curve")
    for one in knees:
        typer.echo(knee_report.verdict(one))
        typer.echo(knee_report.law(one))
    if plot:
        knee_report.save(knee_report.draw(points, knees, source), plot)
    if env:
        env.write_text(knee_report.settings(knees, source), encoding="utf-8")


def _knees(points: list[Point], seed: int) -> list["Knee"]:
    from bench.kneepoint import find_knee  # noqa: PLC0415 - as above

    knees = []
    for name in dict.fromkeys(point.size_class for point in points):
        try:
            knees.append(find_knee(name, [one for one in points if one.size_class == name], seed))
        except ValueError as error:
            typer.echo(f"{name}: {error}", err=True)
    return knees


@contextlib.contextmanager
def _unit(given: str | None, speed: float) -> Iterator[str]:
    """The URL of the unit: the one given, or that of a simulator which lives as long as this."""
    if given:
        yield given
        return
    command = [sys.executable, "-m", "simulator", "--port", "0", "--speed", f"{speed:g}"]
    # In a session of its own: Ctrl-C is for the sweep, which then still has words to say.
    simulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603 - our own
    try:
        said = simulator.stdout.readline() if simulator.stdout else ""
        if " on http://" not in said:
            raise ServerError("the simulator did not start")
        yield said.split(" on ")[1].split(",")[0]
    finally:
        simulator.terminate()
        simulator.communicate()


def _read(path: Path) -> list[Point]:
    try:
        return read_points(orjson.loads(path.read_bytes()))
    except OSError as error:
        raise ServerError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ServerError(f"{path} holds no points of a sweep") from None


def _classes(only: str | None) -> tuple[str, ...]:
    if only is None:
        return CLASSES
    if only not in CLASSES:
        raise typer.BadParameter(f"{only} is neither short nor long", param_hint="--only")
    return (only,)


def _shape(size_class: str, text: str) -> Shape:
    prompt, _, output = text.partition("/")
    if prompt.isdecimal() and output.isdecimal() and int(prompt) > 0 and int(output) > 1:
        return Shape(size_class, int(prompt), int(output))
    raise typer.BadParameter(
        f"{text} is not PROMPT/OUTPUT in tokens, with 2 or more out", param_hint=f"--{size_class}"
    )


def _numbers(size_class: str, text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        return tuple(sorted({int(part) for part in parts}))
    raise typer.BadParameter(
        f"{text} is no list of numbers such as 1,2,4,8", param_hint=f"--{size_class}-tried"
    )


def _check_libraries() -> None:
    # Said before the sweep as well. To look for them is quick, to load them is not.
    for name in ("scipy", "matplotlib"):
        if importlib.util.find_spec(name) is None:
            raise ServerError(f"this needs {name}: pip install 'adasplit[bench]'")


def _check_folders(*paths: Path | None) -> None:
    # Said before the sweep: afterwards it would be lost.
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise typer.BadParameter(f"{path.parent} is not a folder")
