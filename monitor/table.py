"""A snapshot as a table for a terminal of 80 columns or more, or as one plain line."""

from collections.abc import Iterable

from rich.console import Group
from rich.table import Table
from rich.text import Text

from monitor.snapshot import QueueSample, Snapshot, UnitSample

UNKNOWN = "–"  # noqa: RUF001 - a dash that no number can be taken for
_WIDE_FROM = 110
_THOUSAND = 1000
_LEGEND = "s+l: short and long jobs in flight; run, wait: as the engine itself counts"
_STYLES = {
    "ok": "green", "draining": "yellow", "stale": "bold yellow", "silent": "bold red",
    "dead": "bold red", "short": "cyan", "long": "magenta",
}  # fmt: skip


def page(snapshot: Snapshot, title: str, width: int = 80) -> Group:
    """Units, then queues."""
    heading = Text(title, style="bold", no_wrap=True, overflow="ellipsis")
    units = _units(snapshot.units, wide=width >= _WIDE_FROM)
    remarks = [Text(_LEGEND, style="dim"), *_remarks(snapshot)]
    return Group(heading, Text(), units, Text(), _queues(snapshot.queues), Text(), *remarks)


def plain(snapshot: Snapshot) -> str:
    """One line, for logs."""
    queues = ", ".join(f"{one.name} {count(one.depth)} waiting" for one in snapshot.queues)
    units = [
        f"{one.name} {state(one)} {count(one.unit.running)}+{count(one.unit.waiting)}"
        f" {rate(one.activity.generation_tokens_per_s)} tok/s"
        for one in snapshot.units
    ]
    unknown = [f"unknown: {snapshot.no_state}"] if snapshot.no_state else []
    return " | ".join([queues, *(units or ["no units"]), *unknown])


def _remarks(snapshot: Snapshot) -> list[Text]:
    """Why something is not known."""
    said = [f"{unit.name}: {unit.reason}" for unit in snapshot.units if unit.reason]
    if snapshot.no_state:
        said.insert(0, f"queues and roles are unknown: {snapshot.no_state}")
    return [Text(line, style="yellow", no_wrap=True, overflow="ellipsis") for line in said]


def _units(units: Iterable[UnitSample], *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("unit", no_wrap=True, max_width=10 if not wide else 24)
    table.add_column("role", no_wrap=True)
    table.add_column("state", no_wrap=True, overflow="ellipsis")
    names = ["s+l", "run", "wait", "kv", "in/s", "out/s", "ttft50", "ttft99", "tpot50"]
    if wide:
        names += ["tpot99", "e2e50", "queue", "hit", "req/s", "preempt/s"]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for unit in units:
        table.add_row(*_first_cells(unit), *_figures(unit), *(_more(unit) if wide else ()))
    if not table.rows:
        table.add_row("none")
    return table


def _first_cells(unit: UnitSample) -> list[Text]:
    role = unit.pool.role
    return [
        Text(unit.name, overflow="ellipsis"),
        Text(role.title() if role else UNKNOWN, style=_STYLES.get(role or "", "")),
        Text(state(unit), style=_STYLES[unit.state]),
    ]


def _figures(unit: UnitSample) -> list[str]:
    pool, said, did = unit.pool, unit.unit, unit.activity
    short = _held(pool.active_short, pool.online_short)
    return [
        f"{short}+{_held(pool.active_long, pool.online_long)}",
        count(said.running),
        count(said.waiting),
        percent(said.kv_cache_usage),
        rate(did.prompt_tokens_per_s),
        rate(did.generation_tokens_per_s),
        seconds(did.ttft_p50_s),
        seconds(did.ttft_p99_s),
        seconds(did.tpot_p50_s),
    ]


def _held(jobs: float | None, online_limit: int | None) -> str:
    """With the limit that the unit found, where it looks for one."""
    return count(jobs) if online_limit is None else f"{count(jobs)}/{online_limit}"


def _more(unit: UnitSample) -> list[str]:
    did = unit.activity
    return [
        seconds(did.tpot_p99_s),
        seconds(did.e2e_p50_s),
        seconds(did.queue_mean_s),
        percent(did.prefix_hit_rate),
        rate(did.requests_per_s),
        rate(did.preemptions_per_s),
    ]


def _queues(queues: Iterable[QueueSample]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("queue")
    table.add_column("waiting", justify="right", min_width=7)
    table.add_column("oldest", justify="right", min_width=8)
    for queue in queues:
        style = "yellow" if queue.depth else ""
        # Of an empty queue it is known that nothing is old.
        oldest = "" if queue.depth == 0 else seconds(queue.oldest_s)
        table.add_row(queue.name.title(), Text(count(queue.depth), style=style), oldest)
    return table


def state(unit: UnitSample) -> str:
    """A word; of a unit that has stopped answering with how long ago it did."""
    age_s = unit.unit.age_s
    if unit.answers or age_s is None:
        return unit.state
    return f"{unit.state} {age_s:.0f}s"


def count(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"


def percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.0%}"


def rate(value: float | None) -> str:
    """Three significant digits at most; thousands as k."""
    if value is None:
        return UNKNOWN
    if value >= 10 * _THOUSAND:
        return f"{value / _THOUSAND:.0f}k"
    if value >= _THOUSAND:
        return f"{value / _THOUSAND:.1f}k"
    return f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}"  # noqa: PLR2004 - two digits


def seconds(value: float | None) -> str:
    """Like 24ms, 0.35s, 12s."""
    if value is None:
        return UNKNOWN
    if value < 0.1:  # noqa: PLR2004 - below, hundredths of a second say little
        return f"{value * _THOUSAND:.0f}ms"
    if value < 9.95:  # noqa: PLR2004 - from here on one digit is enough
        return f"{value:.2f}s"
    return f"{value:.0f}s"
