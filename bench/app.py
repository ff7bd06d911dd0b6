"""`adasplit bench`: the measuring commands."""

import typer

from bench import claims, fairness, flat, long_prompts, overhead, pool, wakes
from bench.compare import compare
from bench.cost.command import command as cost
from bench.knee import knee
from bench.report import report
from bench.run import run


def bench_app() -> typer.Typer:
    app = typer.Typer(help="Measure AdaSplit and other OpenAI servers.", no_args_is_help=True)
    app.command()(run)
    app.command()(compare)
    app.command()(report)
    app.command()(knee)
    app.command("overhead")(overhead.command)
    app.command("cost")(cost)
    app.command("claims")(claims.command)
    app.command("flat")(flat.command)
    app.command("wakes")(wakes.command)
    app.command("long-prompts")(long_prompts.command)
    app.command("pool")(pool.command)
    app.command("fairness")(fairness.command)
    return app
