"""The scaler's settings."""

from typing import Self

from pydantic import Field, model_validator

from common.settings import Settings


class ScalerSettings(Settings):
    """What all processes share, and how scalers agree on who leads.

    A dead leader is replaced within `leader_s + lead_every_s`, by default in less than 3 s.
    """

    leader_s: float = Field(default=2.5, gt=0)
    """How long a scaler leads without saying so again."""
    lead_every_s: float = Field(default=0.4, gt=0)
    """Time between two tries to take or keep the leadership."""

    @model_validator(mode="after")
    def _leads_in_time(self) -> Self:
        if self.lead_every_s >= self.leader_s / 2:
            raise ValueError("lead_every_s must be less than half of leader_s: one may be lost")
        return self
