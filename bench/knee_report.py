"""What the sweep found, in words, as settings, and as a picture."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.closedloop import Point
from bench.kneepoint import TOLERANCE, Knee

_COLOURS = {"short": "#0072b2", "long": "#a0427a"}
_SETTING = "ADASPLIT_WORKER_CONCURRENCY_LIMIT"


def verdict(knee: Knee) -> str:
    """One class in one sentence."""
    if knee.at is None:
        return (
            f"{knee.size_class}: no knee up to {knee.most} at a time: throughput still grows, by"
            f" {knee.gain:.0%} from {knee.most / 2:g} to {knee.most}"
            f" (in {knee.growing_share:.0%} of the resamples it does)"
        )
    return (
        f"{knee.size_class}: knee at {knee.limit} at a time"
        f" ({knee.at:.1f}, 95 % between {_bound(knee.low, knee)} and {_bound(knee.high, knee)}):"
        f" from there on throughput is within {TOLERANCE:.0%} of the best up to {knee.most}"
    )


def law(knee: Knee) -> str:
    """The fitted curve in one line."""
    fitted = knee.fitted
    peak = "none in sight" if fitted.peak > 10 * knee.most else f"{fitted.peak:.0f}"
    return (
        f"  fitted: {fitted.rate:.3g} req/s alone, contention {fitted.contention:.3g},"
        f" coherency {fitted.coherency:.2g}, peak {peak}; rms error {fitted.rms_error:.1%}"
    )


def as_json(knee: Knee) -> dict[str, Any]:
    fitted = knee.fitted
    return {
        "class": knee.size_class,
        "knee": knee.at,
        "low": knee.low,
        "high": knee.high,
        "still_growing": knee.at is None,
        "most_tried": knee.most,
        "gain_of_last_doubling": knee.gain,
        "growing_share_of_resamples": knee.growing_share,
        "limit": knee.limit,
        "rate": fitted.rate,
        "contention": fitted.contention,
        "coherency": fitted.coherency,
        "peak": fitted.peak if np.isfinite(fitted.peak) else None,
        "rms_error": fitted.rms_error,
    }


def settings(knees: Sequence[Knee], source: str) -> str:
    """An env file. The general limit is the smallest: it is good for either class."""
    today = datetime.now(UTC).date().isoformat()
    lines = [f"# By `adasplit bench knee` of {source}, {today}."]
    lines += [f"{_SETTING}={min(knee.limit for knee in knees)}"]
    for knee in knees:
        lines.append(f"# {verdict(knee)}.")
        if knee.at is None:
            lines.append("# So this is the most that was tried, not the best there is:")
        lines.append(f"{_SETTING}_{knee.size_class.upper()}={knee.limit}")
    return "\n".join(lines) + "\n"


def draw(points: Iterable[Point], knees: Sequence[Knee], title: str) -> Figure:
    """For each class throughput with the fitted curve and the knee, and below it latency."""
    measured = [point for point in points if point.requests_per_s]
    figure = Figure(figsize=(6.0 * len(knees), 8.0), layout="constrained")
    columns = figure.subplots(3, len(knees), sharex="col", squeeze=False).T
    figure.suptitle(title)
    for knee, (above, tokens, below) in zip(knees, columns, strict=True):
        of_class = [point for point in measured if point.size_class == knee.size_class]
        _throughput(above, of_class, knee)
        _times(tokens, of_class, {"TPOT p50": ("tpot_s", "p50"), "TPOT p99": ("tpot_s", "p99")})
        tokens.set_ylabel("TPOT, ms")
        _times(
            below,
            of_class,
            {
                "TTFT p50": ("ttft_s", "p50"),
                "TTFT p99": ("ttft_s", "p99"),
                "E2E p50": ("e2e_s", "p50"),
            },
        )
        below.set_ylabel("seconds")
        below.set_xlabel("requests at a time")
    return figure


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120)


def _throughput(axes: Axes, points: Sequence[Point], knee: Knee) -> None:
    colour = _COLOURS.get(knee.size_class, "#333333")
    tried = np.linspace(1, knee.most, 400)
    axes.plot(tried, knee.fitted.throughput(tried), color=colour, label="fitted (USL)")
    axes.plot(
        [point.concurrency for point in points],
        [point.requests_per_s or math.nan for point in points],
        ls="none",
        marker="o",
        color=colour,
        ms=4,
        mfc="none",
        label="measured",
    )
    if knee.at is None:
        axes.set_title(f"{knee.size_class}: no knee up to {knee.most}, still growing")
    else:
        high = knee.most if knee.high is None else knee.high
        axes.axvspan(knee.low or 1, high, color=colour, alpha=0.15, lw=0, label="95 %")
        axes.axvline(knee.at, color=colour, ls="--", label=f"knee {knee.at:.1f}")
        axes.set_title(f"{knee.size_class}: knee at {knee.limit}")
    axes.set_ylabel("requests/s")
    _finish(axes)


def _times(axes: Axes, points: Sequence[Point], wanted: Mapping[str, tuple[str, str]]) -> None:
    for at, (label, (name, rank)) in enumerate(wanted.items()):
        factor = 1000.0 if name == "tpot_s" else 1.0
        pairs = [
            (point.concurrency, getattr(point, name)[rank] * factor)
            for point in points
            if getattr(point, name).get(rank) is not None
        ]
        if pairs:
            style = ("-", ":", "--")[at]
            axes.plot(*_medians(pairs), color="#333333", ls=style, marker=".", label=label)
    _finish(axes)


def _medians(pairs: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Over the repeats."""
    concurrencies = sorted({pair[0] for pair in pairs})
    medians = [
        float(np.median([value for at, value in pairs if at == wanted])) for wanted in concurrencies
    ]
    return concurrencies, medians


def _finish(axes: Axes) -> None:
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def _bound(place: float | None, knee: Knee) -> str:
    return f"beyond {knee.most}" if place is None else f"{place:.1f}"
