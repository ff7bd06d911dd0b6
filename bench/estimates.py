"""How the estimates of start came true that a gateway told of a few of its jobs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from bench.rows import Row

_CLOSE = 0.2
_NEAR_MS = 250.0


def start_estimates(rows: Iterable[Row]) -> dict[str, Any] | None:
    """Counts by `close`, `near`, `early` and `late`, and shares; None where nothing was told.

    close: within 20 % of the time that the job waited after it was estimated; near: not that, but
    within a quarter of a second of the gateway's clock. `share` is that of close ones alone.
    """
    counts = Counter(filter(None, (_came_true(row.headers) for row in rows)))
    if not counts:
        return None
    n = counts.total()
    return {
        "n": n,
        **{name: counts[name] for name in ("close", "near", "early", "late")},
        "share": counts["close"] / n,
        "share_with_near": (counts["close"] + counts["near"]) / n,
    }


def _came_true(headers: Mapping[str, str]) -> str | None:
    try:
        told_ms = float(headers["estimate-ms"])
        waited_ms = float(headers["queue-ms"]) - float(headers["estimated-after-ms"])
    except (KeyError, ValueError):
        return None
    wrong_ms = abs(told_ms - waited_ms)
    if wrong_ms <= _CLOSE * waited_ms:
        return "close"
    if wrong_ms <= _NEAR_MS:
        return "near"
    return "early" if waited_ms < told_ms else "late"
