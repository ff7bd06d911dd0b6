"""`adasplit`: the command line."""

import sys

import typer

from bench.app import bench_app
from cli.explain import explain
from cli.failure import CannotDo
from cli.monitor import monitor_app
from cli.status import status
from cli.top import top
from cli.units import units_app
from cli.up import up
from lab.command import lab


def _app() -> typer.Typer:
    app = typer.Typer(
        name="adasplit",
        help="Run AdaSplit and see what it does.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for command in (up, status, top, explain, lab):
        app.command()(command)
    app.add_typer(bench_app(), name="bench")
    app.add_typer(monitor_app(), name="monitor")
    app.add_typer(units_app(), name="units")
    return app


def main() -> None:
    try:
        _app()()
    except CannotDo as error:
        print(f"adasplit: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
