"""Options that several benchmark commands share, and what they become."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.client import base_url
from bench.load import Load
from bench.objectives import read_objectives
from bench.workload import Oversize

Sources = Annotated[
    list[str],
    typer.Option(
        metavar="KIND[:FILE],KEY=VALUE,…",
        help="Where requests come from; repeatable: azure:FILE, mooncake:FILE, trace:FILE,"
        " poisson, onoff. docs/benchmarks.md lists the keys.",
    ),
]
OutFolder = Annotated[
    Path, typer.Option(file_okay=False, help="Folder for the results and the report.")
]
SettingsOfAll = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SETTING=VALUE", help="For all systems; repeatable."),
]
DurationS = Annotated[float, typer.Option(min=0.1, help="How long requests are sent.")]
Seed = Annotated[int, typer.Option(help="Decides arrivals, lengths, thinning and prompts.")]
Objective = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLASS:TIME=S,…",
        help="What counts as good, as short:ttft=1,tpot=0.1; repeatable. TIME: ttft, tpot, gap,"
        " e2e, queue.",
    ),
]
LongThresholdTokens = Annotated[
    int, typer.Option(min=1, help="Report prompts of this length or more as class long.")
]
MaxPromptTokens = Annotated[
    int | None,
    typer.Option(min=1, help="Longest prompt, beside what /v1/models gives for the model."),
]
HowOversize = Annotated[Oversize, typer.Option(help="What to do with longer prompts.")]
Retries = Annotated[
    int, typer.Option(min=0, help="Send a refused request again, after its Retry-After.")
]
Speed = Annotated[
    float,
    typer.Option(
        min=0.01, help="How many times faster than life units run; times are scaled back."
    ),
]
TimeoutS = Annotated[float, typer.Option(min=1, help="Longest wait for one answer.")]


def parsed_url(text: str) -> str:
    try:
        return base_url(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


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


def load(
    sources: Sequence[str],
    duration_s: float,
    seed: int,
    long_threshold_tokens: int,
    max_prompt_tokens: int | None,
    oversize: Oversize,
) -> Load:
    """The load of these options. Raises SpecError."""
    found = Load(
        tuple(sources), duration_s, seed, long_threshold_tokens, max_prompt_tokens, oversize
    )
    found.check()
    return found


def objectives(texts: Sequence[str] | None) -> Mapping[str, Mapping[str, float]]:
    """The objectives of these options. Raises typer.BadParameter."""
    try:
        return read_objectives(texts or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
