"""Percentiles, with nothing said where nothing was seen."""

from collections.abc import Iterable, Sequence


def percentile(values: Sequence[float], rank: float) -> float | None:
    """The value at `rank` percent, interpolated between neighbours; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * rank / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(
    values: Iterable[float | None], ranks: Iterable[float] = (50, 90, 99)
) -> dict[str, float | None]:
    """`p50`, `p90`, … and `max` of the values that were seen, and `n`, how many those were."""
    seen = [value for value in values if value is not None]
    found = {f"p{rank:g}": percentile(seen, rank) for rank in ranks}
    return {"n": len(seen), **found, "max": max(seen, default=None)}
