"""What passes between the store and the processes about steals and their cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weighed:
    """A stolen job as its dispatcher looks at it.

    `behind`: short jobs that its unit claimed after it and that have sent no byte; `room`: short
    jobs that the unit would have room for without it.
    """

    job: str
    attempt: int
    behind: int
    room: int


@dataclass(frozen=True)
class Stealing:
    """What steals have cost so far, and what the scaler last allowed them to be; None: nothing yet.

    `regret_s`: what short jobs lost to them, while they prefilled for `prefill_s`.
    """

    steals: int = 0
    regret_s: float = 0.0
    prefill_s: float = 0.0
    idle_s: float | None = None
    tokens: int | None = None
