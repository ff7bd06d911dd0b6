"""`adasplit explain`: what happened to one job, and why."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.bars import duration
from cli.explanation import Explanation, explain_job
from cli.failure import CannotDo
from cli.reading import read, settings_for_redis
from common.views import Views

_READ = 1000
_AFTER_MS = 1000


def explain(
    job: Annotated[str, typer.Argument(help="The id that x-adasplit-job gave.")],
    *,
    redis_url: Annotated[
        str, typer.Option(help="Redis to ask; else that of a running `adasplit up`.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what happened to a job and why."""
    settings = settings_for_redis(redis_url)
    explanation = asyncio.run(read(settings, lambda views: _explain(views, job)))
    if as_json:
        print(json.dumps(asdict(explanation), indent=2))
    else:
        _print(explanation, Console())


async def _explain(views: Views, job: str) -> Explanation:
    fields = await views.job(job)
    if not fields:
        raise CannotDo(f"no job {job} is known; jobs are forgotten some time after they end")
    now_ms = await views.now_ms()
    submitted_ms = int(fields["submitted_ms"])
    # The ids of events are Redis's own times, and the last event follows the job's last change.
    upto_ms = int(fields.get("finished_ms", now_ms)) + _AFTER_MS
    events = await _events(views, submitted_ms, upto_ms)
    return explain_job(job, fields, events, now_ms)


async def _events(views: Views, since_ms: int, upto_ms: int) -> list[dict[str, str]]:
    events: list[dict[str, str]] = []
    since = str(since_ms)
    while read := await views.events(since, str(upto_ms), _READ):
        events += read
        since = f"({read[-1]['id']}"
    return events


def _print(explanation: Explanation, console: Console) -> None:
    console.print(f"job {explanation.job}", style="bold", markup=False, highlight=False)
    console.print(_table(_facts(explanation)))
    console.print("\nwhat happened", style="bold")
    console.print(_table((_clock(step.at_s), step.what) for step in explanation.steps))
    if not explanation.complete:
        console.print("older events are gone, so this may not be all of it", style="yellow")


def _table(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim", min_width=10)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, text)
    return table


def _facts(explanation: Explanation) -> list[tuple[str, str]]:
    ended = [explanation.state, explanation.outcome, explanation.reason]
    status = f"HTTP {explanation.status}" if explanation.status else None
    return [
        ("class", f"{explanation.job_class}, {explanation.tokens} prompt tokens when classified"),
        ("state", ", ".join(part for part in [*ended, status] if part)),
        ("waited", _waited(explanation)),
        ("ahead", _ahead(explanation)),
        ("attempts", _attempts(explanation)),
        *_steal(explanation),
        ("times", _times(explanation)),
        ("tokens", _tokens(explanation)),
    ]


def _waited(explanation: Explanation) -> str:
    so_far = "" if explanation.queue_s is not None else " so far" * (explanation.total_s is None)
    return f"{duration(explanation.waited_s)}{so_far}, for {explanation.waited_for}"


def _ahead(explanation: Explanation) -> str:
    if not explanation.ahead:
        return f"no {explanation.job_class} job was claimed while it waited"
    more = ", …" if explanation.ahead > len(explanation.ahead_first) else ""
    return f"{explanation.ahead} jobs: {', '.join(explanation.ahead_first)}{more}"


def _attempts(explanation: Explanation) -> str:
    on = f", on {', '.join(explanation.units)}" if explanation.units else ""
    stolen = ", by a unit of the other role" if explanation.stolen else ""
    return f"{explanation.attempts}{on}{stolen}"


def _steal(explanation: Explanation) -> list[tuple[str, str]]:
    if explanation.regret_s is not None:
        back = f", which got it back {_times_said(explanation.revoked)}"
        lost = f"short jobs lost {explanation.regret_s:.1f} s to it"
        return [("cost", lost + back * bool(explanation.revoked))]
    if explanation.held_up_by:
        return [("held up", f"by what Short units stole: {', '.join(explanation.held_up_by)}")]
    return []


def _times_said(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _times(explanation: Explanation) -> str:
    return (
        f"claimed {_after(explanation.queue_s)}, first byte {_after(explanation.first_byte_s)}, "
        f"ended {_after(explanation.total_s)}"
    )


def _after(seconds: float | None) -> str:
    return "not yet" if seconds is None else f"after {seconds:.3f} s"


def _tokens(explanation: Explanation) -> str:
    if explanation.completion_tokens is None:
        return "not reported"
    return f"{explanation.prompt_tokens} prompt, {explanation.completion_tokens} completion"


def _clock(at_s: float) -> str:
    return f"{at_s:+.3f} s"
