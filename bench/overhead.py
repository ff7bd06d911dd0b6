"""`adasplit bench overhead`: what the way through the gateway adds to one request at a time."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from bench.client import first_model, open_session
from bench.command import failures_in_one_line, write_json
from bench.options import Out, parsed_url
from bench.pairs import Probe, compared, measure
from bench.prompts import PromptMaker
from bench.table import number

FORMAT_VERSION = 1
_TIMEOUT_S = 60.0
_WARM_UP_PAIRS = 20


@dataclass(frozen=True, slots=True)
class Overhead:
    """Everything that decides what is sent; a result file holds it whole."""

    gateway: str
    unit: str
    pairs: int = 500
    prompt_tokens: int = 16
    output_tokens: int = 4
    pause_s: float = 0.0
    seed: int = 1
    model: str | None = None


async def run(overhead: Overhead) -> dict[str, Any]:
    """Measure answers in one piece and streamed ones; ServerError when one is not whole."""
    async with open_session(timeout_s=_TIMEOUT_S) as session:
        model = overhead.model or str((await first_model(session, overhead.unit))["id"])
        started_at = datetime.now(UTC)
        modes = {}
        for mode, stream in (("whole", False), ("streamed", True)):
            pairs = await measure(
                session,
                _probe(overhead, model, stream=stream),
                direct_url=overhead.unit,
                gateway_url=overhead.gateway,
                pairs=overhead.pairs,
                warm_up=_WARM_UP_PAIRS,
                pause_s=overhead.pause_s,
            )
            modes[mode] = compared(pairs)
    return {
        "bench": "overhead",
        "format": FORMAT_VERSION,
        "started_at": started_at.isoformat(),
        "arguments": asdict(overhead),
        "model": model,
        "modes": modes,
    }


def table(modes: Mapping[str, Any]) -> Table:
    found = Table(title="Milliseconds at concurrency 1")
    for name in ("answer", "time", "path", "p50", "p90", "p99", "max"):
        found.add_column(name, justify="right")
    for mode, times in modes.items():
        for time, figures in times.items():
            for path, label in _PATHS.items():
                found.add_row(mode, time, label, *_cells(figures[path]))
    return found


_PATHS = {
    "direct_s": "direct",
    "gateway_s": "gateway",
    "added_s": "added",
    "added_paired_s": "added, by pairs",
}


def _cells(figures: Mapping[str, float | None]) -> list[str]:
    values = [figures.get(rank) for rank in ("p50", "p90", "p99", "max")]
    return [number(None if value is None else value * 1000, 2) for value in values]


def _probe(overhead: Overhead, model: str, *, stream: bool) -> Probe:
    prompt = PromptMaker(overhead.seed).prompt(0, overhead.prompt_tokens)
    return Probe(model, prompt, overhead.output_tokens, stream)


def command(
    *,
    gateway: Annotated[str, typer.Option(parser=parsed_url, help="The way through AdaSplit.")],
    unit: Annotated[str, typer.Option(parser=parsed_url, help="The same unit, directly.")],
    pairs: Annotated[int, typer.Option(min=1, help="Per kind of answer.")] = 500,
    prompt_tokens: Annotated[int, typer.Option(min=1)] = 16,
    output_tokens: Annotated[int, typer.Option(min=1)] = 4,
    pause_s: Annotated[float, typer.Option(min=0, help="Wait between two pairs.")] = 0,
    seed: Annotated[int, typer.Option(help="Decides the prompt.")] = 1,
    model: Annotated[
        str | None, typer.Option(help="Default: the first that the unit lists.")
    ] = None,
    out: Out = None,
) -> None:
    """Time the same tiny request through the gateway and straight to its unit, in turn."""
    overhead = Overhead(gateway, unit, pairs, prompt_tokens, output_tokens, pause_s, seed, model)
    with failures_in_one_line():
        result = uvloop.run(run(overhead))
    if out:
        write_json(out, result)
    Console().print(table(result["modes"]))
