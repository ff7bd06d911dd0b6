"""The policies by name."""

from collections.abc import Sequence

from baseline.fifo import Fifo
from baseline.least_in_flight import LeastInFlight
from baseline.pool import Policy
from baseline.round_robin import RoundRobin
from baseline.static import Static

NAMES = ("static", "round-robin", "least-in-flight", "fifo")


def policy_named(name: str, units: Sequence[str], short: int | None = None) -> Policy:
    """The policy of a name for these units; `short` is the static partition's, by default half.

    Raises ValueError for a name that is none, or a partition that leaves a class without a unit.
    """
    match name:
        case "static":
            return Static(units, len(units) // 2 if short is None else short)
        case "round-robin":
            return RoundRobin()
        case "least-in-flight":
            return LeastInFlight()
        case "fifo":
            return Fifo()
    raise ValueError(f"there is no policy {name}; there is: {', '.join(NAMES)}")
