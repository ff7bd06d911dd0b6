"""A unit's slots as a bar of text, and durations as people read them."""

from rich.text import Text

SHORT_CELL, LONG_CELL, FREE_CELL = "▒", "█", "·"
STYLES = {"short": "cyan", "long": "magenta", "free": "bright_black"}

_MINUTE_S = 60
_HOUR_S = 3600


def bar(short: int, long: int, limit_short: int, limit_long: int, width: int) -> Text:
    """Short jobs, long jobs and free slots, each by its weight in the unit's load.

    From three cells on, a class in flight shows as at least one, and a bar is full only if the
    unit is.
    """
    share_short, share_long = short / limit_short, long / limit_long
    load, classes = share_short + share_long, (short > 0) + (long > 0)
    used = width if load >= 1 else min(width - 1, max(classes, round(width * load)))
    cells_long = round(used * share_long / load) if load else 0
    cells_long = min(max(cells_long, long > 0), used - (short > 0))
    return Text.assemble(
        (SHORT_CELL * (used - cells_long), STYLES["short"]),
        (LONG_CELL * cells_long, STYLES["long"]),
        (FREE_CELL * (width - used), STYLES["free"]),
    )


def duration(seconds: float | None) -> str:
    """Like 2 ms, 0.4 s, 12 s, 3 min 05 s or 2 h 07 min; - when not known."""
    if seconds is None:
        return "-"
    if seconds < 0.1:  # noqa: PLR2004  # below, tenths of a second say nothing
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:  # noqa: PLR2004  # from here on it would show as 10.0
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
