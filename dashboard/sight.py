"""One look at a pool: what a reader saw, before it becomes history and pages."""

from dataclasses import dataclass

from common.models import HeldView, JobView, PoolView


@dataclass(frozen=True)
class Sight:
    """A pool at one moment, with what its units hold; `jobs` knows most of the ids in `held`."""

    view: PoolView
    held: dict[str, HeldView]
    jobs: dict[str, JobView]
    leader: str | None
    cooldown_s: float
