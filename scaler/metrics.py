"""What a scaler counts, and the pool as the one that leads sees it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from common.keys import CLASSES
from common.models import PoolView, UnitView
from common.policy import Policy
from common.state import held_at_most, limit_of

FLIPS = Counter("adasplit_flips_total", "Units that changed their role.", ["pool", "to"])
REFUSED = Counter("adasplit_flips_refused_total", "Flips that a guard refused.", ["pool", "reason"])
REVOCATIONS = Counter(
    "adasplit_revocations_total",
    "Long jobs that a unit was asked to hand back, as the script took it.",
    ["pool", "outcome"],
)
LEADS = Gauge("adasplit_scaler_leader", "1 while this scaler leads.", ["pool"])
WRONG_OVERRIDES = Gauge(
    "adasplit_wrong_overrides", "Live overrides of the policy that are no valid value.", ["pool"]
)

_GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "queue_depth_jobs": ("Jobs submitted and not claimed.", ("pool", "class")),
    "queue_oldest_wait_seconds": (
        "How long the oldest waiting job has waited.",
        ("pool", "class"),
    ),
    "queue_bytes": ("Bytes of the bodies of unfinished jobs.", ("pool",)),
    "dead_letter_jobs": ("Dead-lettered jobs that are kept.", ("pool",)),
    "steal_idle_seconds": ("How idle a unit must be before it steals.", ("pool",)),
    "steal_largest_prompt_tokens": ("The largest prompt that may be stolen.", ("pool",)),
    "units": ("Units that are alive and take jobs.", ("pool", "role")),
    "unit_alive": ("1 while a unit's heartbeat counts.", ("pool", "unit")),
    "unit_draining": ("1 while a unit is to take no jobs.", ("pool", "unit")),
    "unit_role": ("1 for the role that a unit has, 0 for the other.", ("pool", "unit", "role")),
    "unit_in_flight_jobs": ("Jobs claimed and not finished.", ("pool", "unit", "class")),
    "unit_limit_jobs": ("Jobs of a class that fill a unit alone.", ("pool", "unit", "class")),
    "unit_load_ratio": ("The share of a unit that is taken.", ("pool", "unit")),
    "unit_slots_jobs": ("Jobs of its role's class that it may take now.", ("pool", "unit")),
}


@dataclass
class _Page:
    """The gauges of one look, made when somebody asks."""

    pool: str
    families: dict[str, GaugeMetricFamily] = field(
        default_factory=lambda: {
            name: GaugeMetricFamily(f"adasplit_{name}", text, labels=labels)
            for name, (text, labels) in _GAUGES.items()
        }
    )

    def put(self, name: str, value: float, *labels: str) -> None:
        self.families[name].add_metric([self.pool, *labels], value)


class PoolCollector(Collector):
    """The pool as last seen. Nothing is shown unless this scaler leads: only one may.

    Else a sum over the scalers would count everything twice.
    """

    def __init__(self) -> None:
        self._seen: tuple[str, PoolView, Policy] | None = None

    def show(self, pool: str, view: PoolView, policy: Policy) -> None:
        self._seen = (pool, view, policy)

    def hide(self) -> None:
        self._seen = None

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield from _Page("").families.values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self._seen is None:
            return
        pool, view, policy = self._seen
        page = _Page(pool)
        _put_queues(page, view)
        if policy.adaptive:
            _put_stealing(page, view)
        for unit in view.units:
            _put_unit(page, unit, view, policy)
        yield from page.families.values()


def _put_queues(page: _Page, view: PoolView) -> None:
    roles = [unit.role for unit in view.units if unit.alive and not unit.draining]
    for name in CLASSES:
        page.put("queue_depth_jobs", view.queues[name].depth, name)
        page.put("queue_oldest_wait_seconds", view.queues[name].oldest_s or 0.0, name)
        page.put("units", roles.count(name), name)
    page.put("queue_bytes", view.body_bytes)
    page.put("dead_letter_jobs", view.dead)


def _put_stealing(page: _Page, view: PoolView) -> None:
    if view.stealing.idle_s is not None and view.stealing.tokens is not None:
        page.put("steal_idle_seconds", view.stealing.idle_s)
        page.put("steal_largest_prompt_tokens", view.stealing.tokens)


def _put_unit(page: _Page, unit: UnitView, view: PoolView, policy: Policy) -> None:
    limits = {name: limit_of(unit, view, policy, name) for name in CLASSES}
    held = {"short": unit.short, "long": unit.long}
    load = sum(held[name] / limits[name] for name in CLASSES)
    page.put("unit_alive", unit.alive, unit.name)
    page.put("unit_draining", unit.draining, unit.name)
    for name in CLASSES:
        page.put("unit_role", unit.role == name, unit.name, name)
        page.put("unit_in_flight_jobs", held[name], unit.name, name)
        page.put("unit_limit_jobs", limits[name], unit.name, name)
    page.put("unit_load_ratio", load, unit.name)
    most = {name: held_at_most(unit, view, policy, name) for name in CLASSES}
    left = 1 - sum(held[name] / most[name] for name in CLASSES)
    # A hair for the rounding of the shares.
    free = max(0, int(left * most[unit.role] + 1e-6))
    page.put("unit_slots_jobs", free if unit.alive and not unit.draining else 0, unit.name)


POOL = PoolCollector()
REGISTRY.register(POOL)
