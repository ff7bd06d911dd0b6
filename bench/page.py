"""The report of a comparison as one HTML page that needs nothing else."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from bench.comparison import Comparison, Entry
from bench.objectives import in_words
from bench.table import number

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1280px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .55rem; text-align: right; border-bottom: 1px solid #e3e3e3; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
td.best { font-weight: 700; } .scroll { overflow-x: auto; }
figure { margin: 1.2rem 0; } img { max-width: 100%; } figcaption { color: #555; font-size: 13px; }
.note { background: #fff4e5; padding: .5rem .8rem; border-left: 3px solid #e69f00; }
pre { background: #f6f6f6; padding: .7rem; overflow-x: auto; font-size: 12px; }
"""

Figure = Callable[[Mapping[str, Any]], float | None]


def _of(key: str, rank: str, factor: float = 1.0) -> Figure:
    def found(figures: Mapping[str, Any]) -> float | None:
        value = figures[key][rank]
        return None if value is None else value * factor

    return found


def _goodput(key: str) -> Figure:
    return lambda figures: (figures["goodput"] or {}).get(key)


_COLUMNS: Sequence[tuple[str, Figure, int, int]] = (
    # The heading, the figure, its digits, and which is better: 1 more, -1 less, 0 neither.
    ("requests", lambda figures: figures["n"], 0, 0),
    ("ok", lambda figures: figures["ok"], 0, 0),
    ("refused", lambda figures: figures["refused"], 0, 0),
    ("errors", lambda figures: figures["errors"], 0, 0),
    ("goodput", _goodput("share"), 3, 1),
    ("good/s", _goodput("per_s"), 2, 1),
    ("TTFT p50", _of("ttft_s", "p50"), 2, -1),
    ("p90", _of("ttft_s", "p90"), 2, -1),
    ("p99", _of("ttft_s", "p99"), 2, -1),
    ("TPOT p50 ms", _of("tpot_s", "p50", 1000), 0, -1),
    ("p99 ms", _of("tpot_s", "p99", 1000), 0, -1),
    ("gap p99", _of("worst_gap_s", "p99"), 2, -1),
    ("E2E p50", _of("e2e_s", "p50"), 1, -1),
    ("p99", _of("e2e_s", "p99"), 1, -1),
    ("queue p50", _of("queue_s", "p50"), 2, 0),
    ("p99", _of("queue_s", "p99"), 2, 0),
    ("tok/s", lambda figures: figures["output_tokens_per_s"], 0, 1),
)


def page(comparison: Comparison, plots: Iterable[tuple[str, str, bytes]], title: str) -> str:
    """The whole page; plots are file name, caption and PNG."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        _load(comparison),
        *(f'<p class="note">{escape(note)}</p>' for note in comparison.notes),
        *(_table(comparison, name) for name in comparison.classes),
        "<h2>Plots</h2>",
        *(_plot(caption, png) for _, caption, png in plots),
        "<h2>To repeat it</h2>",
        *(_repeat(entry) for entry in comparison.entries),
    ]
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _load(comparison: Comparison) -> str:
    first = comparison.entries[0].result
    work, load = first["workload"], first["load"]
    sources = "".join(f"<li><code>{escape(text)}</code></li>" for text in load["sources"])
    per_source = ", ".join(f"{name} {count:,}" for name, count in work["sources"].items())
    speed, clock = first["speed"], first["clock"]
    played = "on virtual time" if clock == "virtual" else f"{speed:g} times as fast as life"
    return (
        f"<p>{work['requests']:,} requests ({escape(per_source)}) over {work['span_s']:.0f} s,"
        f" {work['prompt_tokens']:,} prompt tokens, {work['output_tokens']:,} output tokens; seed"
        f" {load['seed']}, digest <code>{work['digest'][:12]}</code>; played {played}, all times in"
        f" seconds of life. Long: from {load['long_threshold_tokens']:,} prompt tokens on."
        f" Objectives: {escape(in_words(comparison.objectives))}.</p><ul>{sources}</ul>"
    )


def _table(comparison: Comparison, name: str) -> str:
    cells = [
        [figure(entry.classes[name]) for _, figure, _, _ in _COLUMNS]
        for entry in comparison.entries
    ]
    best = [
        _best([row[place] for row in cells], better)
        for place, (_, _, _, better) in enumerate(_COLUMNS)
    ]
    heads = "".join(f"<th>{escape(head)}</th>" for head, _, _, _ in _COLUMNS)
    rows = [
        f"<tr><td>{escape(entry.name)}</td>{_cells(row, best)}</tr>"
        for entry, row in zip(comparison.entries, cells, strict=True)
    ]
    return (
        f'<h2>{escape(name.capitalize())} requests</h2>\n<div class="scroll"><table>'
        f"<tr><th>system</th>{heads}</tr>\n{chr(10).join(rows)}</table></div>"
    )


def _cells(row: Sequence[float | None], best: Sequence[float | None]) -> str:
    found = []
    for (_, _, digits, _), value, top in zip(_COLUMNS, row, best, strict=True):
        text = number(value, digits)
        is_best = top is not None and text == number(top, digits)
        found.append(f'<td class="best">{text}</td>' if is_best else f"<td>{text}</td>")
    return "".join(found)


def _best(values: Sequence[float | None], better: int) -> float | None:
    known = [value for value in values if value is not None]
    if not better or len(known) < 2:  # noqa: PLR2004  # one alone is not the best of any
        return None
    return max(known) if better > 0 else min(known)


def _plot(caption: str, png: bytes) -> str:
    shown = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{shown}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _repeat(entry: Entry) -> str:
    result = entry.result
    said = {
        "system": result["system"],
        "started_at": result["started_at"],
        "load": result["load"],
        "model": result["model"],
        "speed": result["speed"],
        "objectives": result["objectives"],
        "arguments": result["arguments"],
    }
    text = json.dumps(said, indent=1, default=str)
    name = escape(entry.name)
    return f"<details><summary>{name}</summary><pre>{escape(text)}</pre></details>"
