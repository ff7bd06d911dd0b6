"""`adasplit bench cost`: what a request and a token cost through AdaSplit and other routers."""

from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from bench.command import failures_in_one_line, write_json
from bench.cost.markdown import markdown
from bench.cost.ports import Ports
from bench.cost.run import Cost, Run
from bench.cost.stages import STAGES, Amounts, Stage
from bench.cost.systems import PEERS
from bench.cost.table import print_result
from bench.options import Out
from cli.folders import new_log_folder

_ALL = ("adasplit", "adasplit:gateways=2", *PEERS)


def command(
    *,
    systems: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SYSTEM…]",
            help=f"{', '.join(PEERS)}; adasplit, adasplit:gateways=2, and whatever else"
            " `bench compare` knows. Default: both of adasplit and all peers that are installed.",
        ),
    ] = None,
    stage: Annotated[
        list[Stage] | None, typer.Option(help="Only this; repeatable. Default: all three.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often all systems are measured.")] = 3,
    requests: Annotated[int, typer.Option(min=10, help="One at a time, in a round.")] = 400,
    seconds: Annotated[float, typer.Option(min=0.2, help="Of throughput, in a round.")] = 3.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests side by side.")] = 32,
    tokens: Annotated[int, typer.Option(min=1, help="Of an answer in one piece.")] = 8,
    streams: Annotated[int, typer.Option(min=1, help="Streams side by side.")] = 32,
    stream_tokens: Annotated[int, typer.Option(min=10, help="Of a streamed answer.")] = 200,
    tokens_per_s: Annotated[float, typer.Option(min=1, help="Of a stream, at its unit.")] = 50.0,
    hops: Annotated[
        bool, typer.Option("--hops", help="Also tell where the time of one request goes.")
    ] = False,
    gateway_share: Annotated[
        float,
        typer.Option(
            min=0.05,
            max=1,
            help="Of a core, for each gateway: then they are the limit, with --concurrency 256.",
        ),
    ] = 1.0,
    units: Annotated[int, typer.Option(min=1, help="Behind every system.")] = 4,
    peers: Annotated[
        Path, typer.Option(file_okay=False, help="What `make peers` installed.")
    ] = Path(".venv-peers"),
    port: Annotated[int, typer.Option(help="Free ports are looked for from here on.")] = 18000,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the figures as tables for the docs.")
    ] = False,
    out: Out = None,
) -> None:
    """Measure latency, throughput, streams and CPU of routers before the same tiny units."""
    cost = Cost(
        systems=tuple(systems or _ALL),
        stages=tuple(stage or STAGES),
        rounds=rounds,
        units=units,
        tokens_per_s=tokens_per_s,
        hops=hops,
        gateway_share=gateway_share,
        amounts=Amounts(requests, seconds, concurrency, tokens, streams, stream_tokens),
    )
    logs = new_log_folder()
    typer.echo(f"logs: {logs}")
    with failures_in_one_line():
        result = uvloop.run(Run(cost, Ports(port), peers, logs, typer.echo).result())
    if out:
        write_json(out, result)
    if as_markdown:
        typer.echo("\n".join(markdown(result)))
    else:
        print_result(Console(), result)
