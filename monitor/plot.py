"""Draws a recording: queues, roles, in flight, cache, tokens and TTFT over time."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monitor.recording import read_recording
from monitor.snapshot import CLASSES, Row

_ROLE_COLOURS = {"short": "#56b4e9", "long": "#cc79a7"}
_QUEUE_COLOURS = {"short": "#0072b2", "long": "#a0427a"}
_ABSENT_COLOUR = "#d0d0d0"
# Okabe and Ito's colours, which people with colour blindness tell apart.
_UNIT_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#cc79a7", "#000000", "#999933",
)  # fmt: skip
_PANELS = (
    ("running", "running at the engine", 1.0, "-"),
    ("kv_cache_usage", "KV cache, %", 100.0, "-"),
    ("generation_tokens_per_s", "output tokens/s", 1.0, "-"),
)
_WIDTH_IN, _PANEL_IN = 10.0, 1.9


def plot(recording: Path, out: Path) -> None:
    """Raises RecordingError."""
    draw(read_recording(recording), title=recording.name).savefig(out, dpi=120)


def draw(rows: Sequence[Row], title: str) -> Figure:
    """Where a value is unknown, its line has a gap."""
    start = min(_time(row) for row in rows)
    units = _by_name(rows, "unit")
    colours = {name: _UNIT_COLOURS[at % len(_UNIT_COLOURS)] for at, name in enumerate(units)}
    figure = Figure(figsize=(_WIDTH_IN, _PANEL_IN * 6), layout="constrained")
    queues, roles, *panels, ttft = figure.subplots(3 + len(_PANELS), sharex=True)
    figure.suptitle(title)
    _draw_queues(queues, _by_name(rows, "queue"), start)
    _draw_roles(roles, units, start)
    for axes, (column, label, factor, style) in zip(panels, _PANELS, strict=True):
        for name, samples in units.items():
            _line(axes, samples, column, start, factor, color=colours[name], ls=style, label=name)
        _finish(axes, label)
    for name, samples in units.items():
        _line(ttft, samples, "ttft_p50_s", start, color=colours[name], label=f"{name} p50")
        _line(ttft, samples, "ttft_p99_s", start, color=colours[name], ls=":", label=f"{name} p99")
    _finish(ttft, "TTFT, s")
    ttft.set_xlabel(f"seconds since {start:%Y-%m-%d %H:%M:%S} UTC")
    return figure


def _draw_queues(axes: Axes, queues: dict[str, list[Row]], start: datetime) -> None:
    for name in CLASSES:
        _line(axes, queues.get(name, []), "depth", start, color=_QUEUE_COLOURS[name], label=name)
    _finish(axes, "waiting jobs")
    # An empty queue is a flat line at the bottom, not a scale of hundredths.
    axes.set_ylim(top=max(1.0, axes.get_ylim()[1]))


def _draw_roles(axes: Axes, units: dict[str, list[Row]], start: datetime) -> None:
    """A bar for each unit: its role, grey while it did not answer, nothing while not known."""
    for at, samples in enumerate(units.values()):
        for colour, spans in _spans(samples, start).items():
            axes.broken_barh(spans, (at - 0.4, 0.8), color=colour, lw=0)
    axes.set_yticks(range(len(units)), list(units))
    axes.invert_yaxis()
    axes.set_ylabel("role")
    for name, colour in {**_ROLE_COLOURS, "dead or silent": _ABSENT_COLOUR}.items():
        axes.broken_barh([], (0, 0), color=colour, label=name)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)


def _spans(samples: Sequence[Row], start: datetime) -> dict[str, list[tuple[float, float]]]:
    """Begin and length of the times that have each colour."""
    times = [_seconds(row, start) for row in samples]
    ends = [*times[1:], times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1)]
    coloured = zip(map(_colour, samples), times, ends, strict=True)
    found: dict[str, list[tuple[float, float]]] = {}
    for colour, group in groupby(coloured, key=itemgetter(0)):
        stretch = list(group)
        if colour:
            found.setdefault(colour, []).append((stretch[0][1], stretch[-1][2] - stretch[0][1]))
    return found


def _colour(row: Row) -> str | None:
    if row.get("state") in {"dead", "stale", "silent"}:
        return _ABSENT_COLOUR
    return _ROLE_COLOURS.get(row.get("role") or "")


def _line(
    axes: Axes,
    samples: Iterable[Row],
    column: str,
    start: datetime,
    factor: float = 1.0,
    **look: Any,
) -> None:
    pairs = [(_seconds(row, start), row.get(column)) for row in samples]
    values = [math.nan if value is None else value * factor for _, value in pairs]
    # A lone value between two unknown ones shows only with a mark.
    axes.plot([at_s for at_s, _ in pairs], values, lw=1.3, marker=".", ms=2.5, **look)


def _finish(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)


def _by_name(rows: Iterable[Row], kind: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["kind"] == kind:
            found.setdefault(row["name"], []).append(row)
    return dict(sorted(found.items()))


def _time(row: Row) -> datetime:
    return datetime.fromisoformat(row["time"])


def _seconds(row: Row, start: datetime) -> float:
    return (_time(row) - start).total_seconds()
