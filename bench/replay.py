"""`python -m bench.replay`: real load, open loop, against any OpenAI-compatible base URLs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from bench import play
from bench.command import Out, failures_in_one_line, parsed_count, parsed_url, write_json
from bench.table import print_result
from bench.workload import Oversize


class Route(StrEnum):
    """How requests are shared out among several URLs."""

    ROUND_ROBIN = "round-robin"


def command(
    *,
    url: Annotated[
        list[str], typer.Option(help="A gateway, or units; repeatable.", parser=parsed_url)
    ],
    route: Annotated[Route, typer.Option(help="Who gets which, of several URLs.")] = (
        Route.ROUND_ROBIN
    ),
    azure: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="CSV with TIMESTAMP,ContextTokens,GeneratedTokens."
        ),
    ] = None,
    mooncake: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="JSON lines with timestamp (ms), input_length, output_length.",
        ),
    ] = None,
    window_s: Annotated[
        float, typer.Option(min=0, help="How much of the trace's time, from its start.")
    ] = 600,
    min_long_tokens: Annotated[
        int, typer.Option(help="Take only prompts above this from --mooncake.")
    ] = 4096,
    thin: Annotated[
        float, typer.Option(min=0, max=1, help="Share of these prompts to keep.")
    ] = 0.08,
    lump_s: Annotated[
        float, typer.Option(min=0, help="Spread each lump of --mooncake over this.")
    ] = 3,
    time_scale: Annotated[float, typer.Option(min=1e-6, help="0.5 plays at half speed.")] = 1,
    long_threshold_tokens: Annotated[
        int, typer.Option(help="Report prompts of this length or more as class long.")
    ] = 4096,
    max_prompt_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Beside the length that /v1/models gives for the model."),
    ] = None,
    oversize: Annotated[Oversize, typer.Option(help="What to do with prompts too long.")] = (
        Oversize.CLAMP
    ),
    seed: Annotated[int, typer.Option(help="Decides thinning, spreading and prompts.")] = 1,
    model: Annotated[
        str | None, typer.Option(help="Default: the first that /v1/models lists.")
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=1, help="Longest wait for one answer.")] = 600,
    limit_concurrency: Annotated[
        int | None,
        typer.Option(parser=parsed_count, metavar="N|none", help="How many requests may be open."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Poll /v1/state of the first URL, a gateway.")
    ] = False,
    settle_s: Annotated[
        float, typer.Option(min=0, help="With --watch, longest wait for zeros at the end.")
    ] = 30,
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="A /metrics page to read before and after; repeatable."),
    ] = None,
    out: Out = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Put every single request into the JSON.")
    ] = False,
) -> None:
    """Play a trace, or two merged, and report TTFT, TPOT, gaps and E2E per class."""
    if azure is None and mooncake is None:
        raise typer.BadParameter("give --azure, --mooncake or both")
    replay = play.Replay(
        urls=tuple(url),
        route=route.value,
        azure=azure,
        mooncake=mooncake,
        window_s=window_s,
        min_long_tokens=min_long_tokens,
        thin=thin,
        lump_s=lump_s,
        time_scale=time_scale,
        long_threshold_tokens=long_threshold_tokens,
        max_prompt_tokens=max_prompt_tokens,
        oversize=oversize,
        seed=seed,
        model=model,
        timeout_s=timeout_s,
        limit_concurrency=limit_concurrency,
        watch=watch,
        settle_s=settle_s,
        metrics=tuple(metrics or ()),
        rows=rows,
    )
    with failures_in_one_line():
        result = uvloop.run(play.run(replay, typer.echo))
    if out:
        write_json(out, result)
    print_result(Console(highlight=False), result)


if __name__ == "__main__":
    typer.run(command)
