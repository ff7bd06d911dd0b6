"""`adasplit bench report`: one report of several results of the same load."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from bench import options
from bench.command import failures_in_one_line
from bench.comparison import Comparison, compared
from bench.objectives import Objectives, in_words
from bench.page import page
from bench.result import ResultError, read_result
from bench.table import number


def write(
    results: Sequence[Mapping[str, Any]],
    folder: Path,
    title: str,
    objectives: Objectives | None = None,
) -> None:
    """Write `report.html` and the plots into a folder, and print the table. Raises ResultError."""
    comparison = compared(results, objectives)
    try:
        # matplotlib takes a second to load, and only reports need it.
        from bench.plots import plots  # noqa: PLC0415
    except ImportError as error:
        raise ResultError(f"a report needs the extra `bench`: {error}") from error
    drawn = list(plots(comparison))
    folder.mkdir(parents=True, exist_ok=True)
    for name, _, png in drawn:
        (folder / name).write_bytes(png)
    (folder / "report.html").write_text(page(comparison, drawn, title), encoding="utf-8")
    console = Console(highlight=False)
    for table in tables(comparison):
        console.print(table)
    if comparison.objectives:
        console.print(f"objectives: {in_words(comparison.objectives)}")
    for note in comparison.notes:
        console.print(note, style="bold red")
    console.print(f"report: {folder / 'report.html'}", soft_wrap=True)


def tables(comparison: Comparison) -> list[Table]:
    """A table per class, a row per system."""
    return [_table(comparison, name) for name in comparison.classes]


def report(
    *,
    results: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="Result files.")
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the report.")],
    objective: options.Objective = None,
    title: Annotated[str, typer.Option(help="Of the report.")] = "Comparison",
) -> None:
    """Write one report of results of the same load; objectives may be others than they had."""
    with failures_in_one_line():
        wanted = options.objectives(objective) if objective else None
        write([read_result(path) for path in results], out, title, wanted)


def _table(comparison: Comparison, name: str) -> Table:
    table = Table(
        title=f"{name} requests; seconds, TPOT in ms", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("system", overflow="fold", min_width=16)
    for head in ("ok", "failed", "good", "TTFT\np50", "p99", "TPOT\np99", "E2E\np50", "p99"):
        table.add_column(head, justify="right", vertical="bottom")
    for entry in comparison.entries:
        figures = entry.classes[name]
        good = figures["goodput"] or {}
        tpot_s = figures["tpot_s"]["p99"]
        table.add_row(
            entry.name,
            str(figures["ok"]),
            str(figures["refused"] + figures["errors"]),
            number(good.get("share"), 3),
            number(figures["ttft_s"]["p50"], 2),
            number(figures["ttft_s"]["p99"], 2),
            number(None if tpot_s is None else tpot_s * 1000, 0),
            *(number(figures["e2e_s"][rank], 1) for rank in ("p50", "p99")),
        )
    return table
