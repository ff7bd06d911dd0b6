"""What a scaler counts and shows."""

from prometheus_client import Counter, Gauge

from common.keys import CLASSES
from common.models import PoolView

FLIPS = Counter("adasplit_flips_total", "Units that changed their role.", ["pool", "to"])
REFUSED = Counter("adasplit_flips_refused_total", "Flips that a guard refused.", ["pool", "reason"])
LEADS = Gauge("adasplit_scaler_leader", "1 while this scaler leads.", ["pool"])
DEPTH = Gauge("adasplit_queue_depth_jobs", "Jobs submitted and not claimed.", ["pool", "class"])
UNITS = Gauge("adasplit_units", "Units that are alive and take jobs.", ["pool", "role"])
WRONG_OVERRIDES = Gauge(
    "adasplit_wrong_overrides", "Live overrides of the policy that are no valid value.", ["pool"]
)


def show(pool: str, view: PoolView) -> None:
    """Bring the gauges up to a view."""
    roles = [unit.role for unit in view.units if unit.alive and not unit.draining]
    for name in CLASSES:
        DEPTH.labels(pool, name).set(view.queues[name].depth)
        UNITS.labels(pool, name).set(roles.count(name))


def hide() -> None:
    """Show no pool: only the leader does, or a sum over the scalers counts everything twice."""
    DEPTH.clear()
    UNITS.clear()
