"""`adasplit up`: everything on one machine."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.checks import read_units
from cli.failure import CannotDo
from cli.folders import new_log_folder
from cli.launch import Launch
from cli.program import Layout
from cli.settings import read_settings


def up(
    *,
    units: Annotated[int, typer.Option(min=1, help="How many units to simulate.")] = 4,
    unit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help="A unit that runs already; may be repeated."),
    ] = None,
    gateways: Annotated[int, typer.Option(min=1, help="Gateways; they share one port.")] = 1,
    port: Annotated[
        int | None, typer.Option(help="Port of the gateway; else ADASPLIT_PORT, 8000.")
    ] = None,
    unit_port: Annotated[int, typer.Option(help="Port of the first simulated unit.")] = 8001,
    admin_port: Annotated[
        int, typer.Option(help="Port of the scaler's pages; the dispatchers' follow.")
    ] = 9100,
    dashboard_port: Annotated[
        int | None,
        typer.Option(help="Port of the dashboard, 0: none; else ADASPLIT_DASHBOARD_PORT, 8080."),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.01, help="How many times faster than life units are simulated.")
    ] = 1.0,
    host: Annotated[
        str | None, typer.Option(help="Address of the gateway; else ADASPLIT_HOST, 127.0.0.1.")
    ] = None,
    redis_url: Annotated[
        str, typer.Option(help="Redis to use, as ADASPLIT_REDIS_URL; else an embedded Valkey.")
    ] = "",
    logs: Annotated[
        Path | None, typer.Option(help="Folder for the logs; else one for this run is made.")
    ] = None,
    view: Annotated[bool, typer.Option(help="Show a live page, on a terminal.")] = True,
) -> None:
    """Start Redis, units, dispatchers, scaler, gateways and dashboard; stop all on Ctrl-C."""
    options = {"redis_url": redis_url or None, "host": host, "port": port}
    options["dashboard_port"] = dashboard_port
    settings = read_settings(**{name: each for name, each in options.items() if each is not None})
    given = read_units(unit or settings.units.split(","))
    layout = Layout(
        *(settings.host, settings.port, unit_port, admin_port, gateways, units, speed),
        *(given or None, settings.dashboard_host, settings.dashboard_port),
    )
    console = Console()
    live = view and console.is_terminal
    folder = _folder(logs)
    asyncio.run(Launch(layout, settings, folder, console, live).run())


def _folder(given: Path | None) -> Path:
    if given is None:
        return new_log_folder()
    try:
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotDo(f"cannot write logs to {given}: {error.strerror}") from None
    return given.resolve()
