"""`adasplit bench run`: open-loop load against any OpenAI-compatible base URLs."""

import re
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from bench import options, play
from bench.command import failures_in_one_line
from bench.result import write_result
from bench.table import print_result
from bench.workload import Oversize

_IDS = re.compile(r"(\d+)-(\d+)")


def _prompt_ids(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _IDS.fullmatch(text)
    if not found or int(found[1]) >= int(found[2]):
        raise typer.BadParameter(f"{text} is no range of token ids such as 1000-30000")
    return int(found[1]), int(found[2])


def _limit(text: str) -> int | None:
    """A number above 0, or None for the word `none`."""
    if text == "none":
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"{text} is neither none nor a number above 0")


def run(
    *,
    url: Annotated[
        list[str],
        typer.Option(
            help="A gateway, or units, which then get requests in turn; repeatable.",
            parser=options.parsed_url,
        ),
    ],
    source: options.Sources,
    duration_s: options.DurationS = 60,
    seed: options.Seed = 1,
    objective: options.Objective = None,
    long_threshold_tokens: options.LongThresholdTokens = 4096,
    max_prompt_tokens: options.MaxPromptTokens = None,
    oversize: options.HowOversize = Oversize.CLAMP,
    model: Annotated[
        str | None, typer.Option(help="Default: the first that /v1/models lists.")
    ] = None,
    api_key: Annotated[
        str, typer.Option(envvar="OPENAI_API_KEY", help="Sent as a bearer token.")
    ] = "",
    prompt_ids: Annotated[
        str | None,
        typer.Option(
            metavar="LOW-HIGH",
            help="Ask for completions of random token ids in this range instead of chats.",
        ),
    ] = None,
    tokens_per_word: Annotated[
        float | None,
        typer.Option(min=0.01, help="Of the model's tokenizer; by default measured before."),
    ] = None,
    ignore_eos: Annotated[
        bool, typer.Option(help="Ask vLLM for answers of exactly the planned length.")
    ] = True,
    say_class: Annotated[
        bool, typer.Option("--say-class", help="Send the class as x-adasplit-class.")
    ] = False,
    retries: options.Retries = 0,
    timeout_s: options.TimeoutS = 600,
    limit_concurrency: Annotated[
        int | None,
        typer.Option(parser=_limit, metavar="N|none", help="How many requests may be open."),
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
    speed: options.Speed = 1,
    out: options.Out = None,
) -> None:
    """Send requests when they are due and report TTFT, TPOT, gaps, E2E and goodput per class."""
    with failures_in_one_line():
        load = options.load(
            source, duration_s, seed, long_threshold_tokens, max_prompt_tokens, oversize
        )
        wanted = play.Play(
            urls=tuple(url),
            load=load,
            objectives=options.objectives(objective),
            model=model,
            prompt_ids=_prompt_ids(prompt_ids),
            tokens_per_word=tokens_per_word,
            ignore_eos=ignore_eos,
            say_class=say_class,
            retries=retries,
            timeout_s=timeout_s,
            limit_concurrency=limit_concurrency,
            watch=watch,
            settle_s=settle_s,
            metrics=tuple(metrics or ()),
            speed=speed,
        )
        done = uvloop.run(play.run(wanted, typer.echo, api_key=api_key))
    result = done.result()
    if out:
        write_result(out, result)
    print_result(Console(highlight=False), result)
