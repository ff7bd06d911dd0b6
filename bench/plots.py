"""The plots of a comparison, as PNG; needs matplotlib, of the extra `bench`."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.comparison import Comparison, Entry
from bench.figures import ALL

_DPI = 110
# Okabe and Ito's colours, which also those tell apart who see few; the first two for AdaSplit.
_COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#CC79A7", "#009E73", "#555555", "#A6761D")
_DASHES = ("-", "--", "-.", ":")
_ROLES = {"short": "#9ecae1", "long": "#fdae6b", None: "#dddddd"}
_CLASS_COLOURS = {"short": "#0072B2", "long": "#D55E00"}
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
_CDFS = (("ttft_s", "TTFT"), ("e2e_s", "E2E"))
_LEAST_S = 0.01


def plots(comparison: Comparison) -> Iterator[tuple[str, str, bytes]]:
    """Each plot's file name, its caption and its PNG."""
    for key, label in _CDFS:
        caption = (
            f"{label}: the share of all requests that had it by then. A curve that ends below 1"
            " has requests that were refused or failed."
        )
        yield f"{label.lower()}.png", caption, cdf_plot(comparison, key, label)
    if comparison.objectives:
        yield (
            "goodput.png",
            "Goodput: requests that met their objectives.",
            goodput_plot(comparison),
        )
    for entry in comparison.entries:
        if _has_roles(entry):
            name = "".join(char if char.isalnum() else "-" for char in entry.name.lower())
            caption = (
                f"{entry.name}: what each unit served, jobs in flight, jobs waiting, and steals so"
                " far."
            )
            yield f"timeline-{name}.png", caption, timeline_plot(entry)


def cdf_plot(comparison: Comparison, key: str, label: str) -> bytes:
    """A curve per system for each class, over all requests, on a logarithmic axis."""
    names = [name for name in comparison.classes if name != ALL]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.8 * len(names), 4.2), layout="constrained")
        for axes, name in zip(_row(figure, len(names)), names, strict=True):
            for place, entry in enumerate(comparison.entries):
                _draw_cdf(axes, entry, name, key, place)
            bound = comparison.objectives.get(name, {}).get(key)
            if bound:
                axes.axvline(bound, color="#999999", linewidth=1, linestyle=":")
            axes.set(xscale="log", ylim=(0, 1.01), xlabel="seconds", title=f"{label}, {name}")
            axes.set_ylabel("share of all requests")
            axes.xaxis.set_major_formatter(lambda seconds, _place: f"{seconds:g}")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
        return _png(figure)


def goodput_plot(comparison: Comparison) -> bytes:
    """A bar per system for each class that has an objective: its share and its rate."""
    names = [
        name
        for name in comparison.classes
        if any(entry.classes[name]["goodput"] for entry in comparison.entries)
    ]
    height = 0.9 + 0.32 * len(comparison.entries)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.4 * len(names) + 1, height), layout="constrained")
        for place, (axes, name) in enumerate(zip(_row(figure, len(names)), names, strict=True)):
            _draw_goodput(axes, comparison.entries, name, named=place == 0)
        return _png(figure)


def timeline_plot(entry: Entry) -> bytes:
    """Roles, jobs in flight, depths and steals of one system over the run."""
    seen: Sequence[Mapping[str, Any]] = entry.result["watch"]["timeline"]
    times = [one["at_s"] for one in seen]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.6, 6.4), layout="constrained")
        roles, flight, depths, steals = figure.subplots(
            4, 1, sharex=True, height_ratios=(1.3, 1, 1, 0.7)
        )
        _draw_roles(roles, seen)
        for name, colour in _CLASS_COLOURS.items():
            active = [sum(_known(unit, name) for unit in one["units"].values()) for one in seen]
            waiting = [one["depths"][name] for one in seen]
            flight.plot(times, active, color=colour, linewidth=1, label=name)
            depths.plot(times, waiting, color=colour, linewidth=1, label=name)
        steals.plot(times, [one["steals"] for one in seen], color="#444444", linewidth=1.2)
        flight.set_ylabel("in flight")
        depths.set_ylabel("waiting")
        steals.set(ylabel="steals", xlabel="seconds")
        for axes in (flight, depths, steals):
            axes.set_ylim(bottom=0)
        flight.legend(loc="upper left", ncols=2, fontsize=8)
        figure.suptitle(entry.name, fontsize=10)
        return _png(figure)


def _draw_cdf(axes: Axes, entry: Entry, name: str, key: str, place: int) -> None:
    rows = entry.rows_of_class(name)
    times = [getattr(row, key) for row in rows if row.ok]
    ordered = sorted(max(_LEAST_S, time) for time in times if time is not None)
    if not ordered:
        return
    shares = [number / len(rows) for number in range(1, len(ordered) + 1)]
    axes.step(
        ordered,
        shares,
        where="post",
        label=entry.name,
        color=_COLOURS[place % len(_COLOURS)],
        linestyle=_DASHES[place // len(_COLOURS) % len(_DASHES)],
        linewidth=2.2 if entry.result["system"]["kind"] == "adasplit" else 1.2,
        zorder=3 if entry.result["system"]["kind"] == "adasplit" else 2,
    )


def _draw_goodput(axes: Axes, entries: Sequence[Entry], name: str, *, named: bool) -> None:
    goods = [entry.classes[name]["goodput"] or {"share": 0.0, "per_s": 0.0} for entry in entries]
    shares = [good["share"] or 0.0 for good in goods]
    places = range(len(entries))
    colours = [_COLOURS[place % len(_COLOURS)] for place in places]
    axes.barh(places, shares, color=colours, height=0.7, alpha=0.6)
    for place, good in zip(places, goods, strict=True):
        text = f"{good['share'] or 0:.3f}   {good['per_s'] or 0:.2f}/s"
        axes.text(0.02, place, text, va="center", fontsize=8, color="black")
    axes.set(xlim=(0, 1), title=f"goodput, {name}")
    axes.set_yticks(places, [entry.name for entry in entries] if named else ["" for _ in places])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def _draw_roles(axes: Axes, seen: Sequence[Mapping[str, Any]]) -> None:
    names = sorted({name for one in seen for name in one["units"]})
    for place, name in enumerate(names):
        for start_s, end_s, role in _stretches(seen, name):
            axes.barh(place, end_s - start_s, left=start_s, color=_ROLES[role], height=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(visible=False)
    known = [Patch(color=_ROLES[role], label=f"{role} unit") for role in ("short", "long")]
    axes.legend(handles=known, loc="upper center", bbox_to_anchor=(0.5, 1.3), ncols=2, fontsize=8)


def _stretches(
    seen: Sequence[Mapping[str, Any]], name: str
) -> Iterator[tuple[float, float, str | None]]:
    """From when to when a unit had which role."""
    times = [(one["at_s"], one["units"].get(name, {}).get("role")) for one in seen]
    if not times:
        return
    start_s, role = times[0]
    for at_s, now in times[1:]:
        if now != role:
            yield start_s, at_s, role
            start_s, role = at_s, now
    yield start_s, times[-1][0], role


def _has_roles(entry: Entry) -> bool:
    watch = entry.result["watch"]
    return (
        bool(watch)
        and any(unit["role"] for one in watch["timeline"] for unit in one["units"].values())
        and entry.result["system"]["kind"] != "static"
    )


def _known(unit: Mapping[str, Any], name: str) -> int:
    return int(unit["active"][name] or 0)


def _row(figure: Figure, count: int) -> list[Axes]:
    grid = figure.subplots(1, count, squeeze=False)
    return list(grid[0])


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI)
    return out.getvalue()
