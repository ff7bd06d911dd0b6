"""What units hold and prefill, as the adaptive decision needs it."""

from dataclasses import dataclass

from common.models import Prefilling


@dataclass(frozen=True)
class Survey:
    """What units prefill now; `short_tokens` are the prompt of a usual short job in flight.

    `next_long_tokens` are the prompt of the long job that is claimed next; 0 when none waits.
    """

    next_long_tokens: int
    short_tokens: int
    prefilling: tuple[Prefilling, ...]
