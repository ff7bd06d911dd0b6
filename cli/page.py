"""A pool's state as a page for a terminal, at 80 columns and wider, or as one plain line."""

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.bars import FREE_CELL, LONG_CELL, SHORT_CELL, STYLES, bar, duration
from common.keys import CLASSES, JobClass
from common.models import PoolView, QueueView, UnitView
from common.policy import Policy
from common.state import limit_of, online_of
from common.steals import Stealing

_HEALTHY = {"", "ok", "up"}
_NARROW_BAR = 24
_WIDE_BAR = 48
_WIDE_FROM = 110
_LEGEND = (
    (SHORT_CELL, STYLES["short"]), " short   ",
    (LONG_CELL, STYLES["long"]), " long   ",
    (FREE_CELL, STYLES["free"]), " free",
)  # fmt: skip


def page(view: PoolView, policy: Policy, title: str, width: int = 80) -> Group:
    """Units with their slots, then queues."""
    bar_width = _WIDE_BAR if width >= _WIDE_FROM else _NARROW_BAR
    heading = Text(title, style="bold", no_wrap=True, overflow="ellipsis")
    units, queues = _units(view, policy, bar_width), _queues(view)
    return Group(heading, Text(), units, Text(), queues, *_stealing(view.stealing, policy))


def lately(counts: Mapping[str, int], notes: Iterable[str]) -> RenderableType:
    """Outcomes, flips and steals, and the last notes."""
    line = Text(_counted(counts), no_wrap=True, overflow="ellipsis")
    lines = [Text(note, style="dim", no_wrap=True, overflow="ellipsis") for note in notes]
    return Group(Text(), line, *lines)


def plain(view: PoolView, counts: Mapping[str, int]) -> str:
    """One line, for logs."""
    parts = [_plain_class(view, name) for name in CLASSES]
    dead = sum(not unit.alive for unit in view.units)
    return " | ".join(
        [*parts, *([f"{_number(dead, 'unit')} dead"] if dead else []), _counted(counts)]
    )


def _units(view: PoolView, policy: Policy, bar_width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("unit", no_wrap=True, max_width=16)
    table.add_column("role", no_wrap=True)
    table.add_column(Text.assemble(*_LEGEND), no_wrap=True, min_width=bar_width)
    table.add_column("short", justify="right", no_wrap=True)
    table.add_column("long", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True, overflow="ellipsis")
    for unit in view.units:
        table.add_row(*_row(unit, policy, view, bar_width))
    if not view.units:
        table.add_row("none yet")
    return table


def _row(unit: UnitView, policy: Policy, view: PoolView, bar_width: int) -> list[RenderableType]:
    limits = {name: limit_of(unit, view, policy, name) for name in CLASSES}
    return [
        unit.name,
        Text(unit.role.title(), style=STYLES[unit.role]),
        bar(unit.short, unit.long, limits["short"], limits["long"], bar_width),
        *(_held(unit, policy, view, name) for name in CLASSES),
        unit_state(unit),
    ]


def _held(unit: UnitView, policy: Policy, view: PoolView, name: JobClass) -> str:
    """Jobs of the limit; where that is found online, its ceiling behind."""
    held, ceiling = getattr(unit, name), limit_of(unit, view, policy, name)
    online = online_of(unit, view, policy, name)
    return f"{held}/{ceiling}" if online is None else f"{held}/{online} of {ceiling}"


def unit_state(unit: UnitView) -> Text:
    """What a unit is at, in a word or two."""
    if not unit.alive:
        return Text(f"dead {duration(unit.heartbeat_s)}", style="bold red")
    if unit.draining:
        return Text("draining" if unit.in_flight else "drained", style="yellow")
    if unit.health not in _HEALTHY:
        return Text(unit.health, style="yellow")
    if unit.in_flight:
        return Text("busy", style="green")
    return Text(f"idle {duration(unit.idle_s)}")


def _queues(view: PoolView) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("queue")
    table.add_column("waiting", justify="right", min_width=7)
    table.add_column("oldest", justify="right", min_width=10)
    for name in CLASSES:
        queue = view.queues[name]
        style = "yellow" if queue.depth else ""
        table.add_row(name.title(), Text(str(queue.depth), style=style), duration(queue.oldest_s))
    return table


def _stealing(seen: Stealing, policy: Policy) -> list[Text]:
    lines = []
    if seen.steals:
        cost = f"{seen.regret_s:.1f} s in {seen.prefill_s:.1f} s of their prefill"
        lines.append(f"{_number(seen.steals, 'steal')} cost short jobs {cost}")
    if policy.adaptive and seen.idle_s is not None:
        lines.append(f"the next: after {seen.idle_s:.1f} s idle, of {seen.tokens} tokens at most")
    return [Text(), *(Text(line, style="dim") for line in lines)] if lines else []


def _takes_jobs(unit: UnitView) -> bool:
    return unit.alive and not unit.draining


def _plain_class(view: PoolView, name: JobClass) -> str:
    units = [unit for unit in view.units if _takes_jobs(unit) and unit.role == name]
    running = sum(getattr(unit, name) for unit in view.units)
    return (
        f"{name}: {_number(len(units), 'unit')}, {running} running, {_waiting(view.queues[name])}"
    )


def _waiting(queue: QueueView) -> str:
    oldest = "" if queue.oldest_s is None else f" up to {duration(queue.oldest_s)}"
    return f"{queue.depth} waiting{oldest}"


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _counted(counts: Mapping[str, int]) -> str:
    ended = {name: counts.get(name, 0) for name in ("failed", "cancelled", "expired", "dead")}
    words = [f"{counts.get('ok', 0)} ok"]
    words += [f"{count} {name}" for name, count in ended.items() if count]
    words += [_number(counts.get("flipped", 0), "flip"), _number(counts.get("stolen", 0), "steal")]
    words += [f"{counts['revoked']} revoked"] if counts.get("revoked") else []
    return ", ".join(words)
