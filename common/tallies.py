"""What a look at a pool as a whole brings, in time that does not grow with the pool."""

from dataclasses import dataclass

from common.keys import JobClass
from common.models import Lease, QueueView


@dataclass(frozen=True)
class Overdue:
    """Who has not spoken in time, as of `judged_ms`: now, or when Redis went away.

    `lapsed` are leases of the unit that asks, each with its job's gateway. `units`, of which
    `forgotten` need no longer be known, and `gateways` are without a heartbeat.
    """

    judged_ms: int
    lapsed: tuple[tuple[Lease, str], ...]
    units: tuple[str, ...]
    forgotten: tuple[str, ...]
    gateways: tuple[str, ...]


@dataclass(frozen=True)
class Tally:
    """What waits in a pool and how many units live, at one moment (Redis's clock).

    `alive` also counts units that drain, `units` those of each role that take jobs. `models` are
    what units said to serve, as long ago as a heartbeat counts.
    """

    now_ms: int
    alive: int
    units: dict[JobClass, int]
    models: tuple[str, ...]
    queues: dict[JobClass, QueueView]
    overrides: dict[str, str]
    body_bytes: int = 0
    dead: int = 0
