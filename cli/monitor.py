"""`adasplit monitor`: what every unit and queue is at, live, recorded, plotted."""

import asyncio
import signal
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import typer
from rich.console import Console
from rich.live import Live

from cli.checks import read_units
from cli.failure import CannotDo
from cli.reading import gateway_url, settings_for_redis
from cli.settings import read_settings
from cli.sources import state_from_gateway, state_from_redis
from monitor import table
from monitor.loop import Sink, run
from monitor.recording import SUFFIXES, Recorder, RecordingError, json_line
from monitor.snapshot import Snapshot
from monitor.watcher import AskState, State, StateUnknownError, Watcher

_SHORTEST_TIMEOUT_S = 1.0
_LONGEST_TIMEOUT_S = 5.0


def monitor_app() -> typer.Typer:
    app = typer.Typer(
        help="Watch every unit and queue; record what they say.", invoke_without_command=True
    )
    app.callback()(monitor)
    app.command()(plot)
    return app


def monitor(
    context: typer.Context,
    *,
    unit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]URL",
            help="A unit to watch beside those of the pool, or where to find one of them; "
            "may be repeated.",
        ),
    ] = None,
    url: Annotated[str, typer.Option(help="The gateway to ask for the pool's state.")] = "",
    redis_url: Annotated[str, typer.Option(help="Ask this Redis instead of a gateway.")] = "",
    every_s: Annotated[float, typer.Option(min=0.1, help="Time between two looks.")] = 2.0,
    window_s: Annotated[
        float, typer.Option(min=0.1, help="Rates and percentiles are over so long.")
    ] = 10.0,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Record to this .csv or .jsonl file.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="End after so many looks; else at Ctrl-C.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Watch every unit's own metrics, with the pool's roles and queues beside them.

    What is not known is shown as a dash, and recorded as nothing: never as 0.
    """
    if context.invoked_subcommand is not None:
        return
    given, ask_state, source = _units(unit or []), *_state_source(url, redis_url)
    title = f"{source}   rates over {max(window_s, every_s):g} s"
    # A unit that hangs holds up the look at the others for no longer than the time between two.
    timeout_s = min(max(every_s, _SHORTEST_TIMEOUT_S), _LONGEST_TIMEOUT_S)

    async def watch() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with httpx.AsyncClient(timeout=timeout_s) as client:
            watcher = Watcher(client, ask_state, given, max(window_s, every_s))
            await run(watcher, sinks, stop, every_s=every_s, samples=samples)

    with ExitStack() as stack:
        sinks: list[Sink] = []
        recorder = stack.enter_context(_recorder(record)) if record else None
        if recorder:
            sinks.append(recorder.write)
        sinks.append(_shown(stack, title, as_json=as_json))
        asyncio.run(watch())
    if recorder:
        print(f"{record}: {recorder.rows} rows", file=sys.stderr)


def plot(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A .csv or .jsonl file.")],
    *,
    out: Annotated[Path, typer.Option(help="The picture to write, .png, .svg or .pdf.")],
) -> None:
    """Draw a recording: queues, roles, in flight, cache, tokens and TTFT over time."""
    try:
        # Only who draws waits half a second for matplotlib, or needs to have it.
        from monitor import plot as drawing  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise CannotDo(f"a plot needs {error.name}: pip install 'adasplit[bench]'") from None
    try:
        drawing.plot(recording, out)
    except RecordingError as error:
        raise CannotDo(str(error)) from None
    except (OSError, ValueError) as error:
        raise CannotDo(f"{out}: {error}") from None


def _shown(stack: ExitStack, title: str, *, as_json: bool) -> Sink:
    """How snapshots are shown: JSON lines, a live table on a terminal, or plain lines."""
    console = Console()
    if as_json:
        return _print_json
    if not console.is_terminal:
        return lambda snapshot: print(f"{snapshot.at:%H:%M:%S} {table.plain(snapshot)}", flush=True)
    live = stack.enter_context(Live(console=console, auto_refresh=False))
    return lambda snapshot: live.update(table.page(snapshot, title, console.width), refresh=True)


def _print_json(snapshot: Snapshot) -> None:
    for row in snapshot.rows():
        print(json_line(row), end="", flush=True)


def _recorder(path: Path) -> Recorder:
    if path.suffix == ".parquet":
        raise CannotDo(f"{path}: Parquet is not written; {' and '.join(SUFFIXES)} are")
    try:
        return Recorder(path)
    except RecordingError as error:
        raise CannotDo(str(error)) from None


def _units(given: Iterable[str]) -> dict[str, str]:
    """`NAME=URL` as it is; a bare URL gets its host and port as its name."""
    named = [one if "=" in one.partition("://")[0] else f"{_name(one)}={one}" for one in given]
    return {name: url.rstrip("/") for name, url in read_units(named).items()}


def _name(url: str) -> str:
    return urlsplit(url).netloc.replace(":", "-") or url


def _state_source(url: str, redis_url: str) -> tuple[AskState, str]:
    """How to ask for the pool's state, and whom in words."""
    settings = settings_for_redis(redis_url) if redis_url else read_settings()
    gateway = gateway_url(url)

    async def ask() -> State:
        try:
            if redis_url:
                return await state_from_redis(settings)
            found: State = await state_from_gateway(gateway, settings)
        except CannotDo as error:
            raise StateUnknownError(str(error)) from None
        return found

    return ask, f"pool {settings.pool} in Redis" if redis_url else gateway
