"""The numbers of online limits, which follow a unit's time per output token below its ceilings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from common.keys import JobClass


class OnlineSlots(BaseModel):
    """Inert while `slots` is fixed."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    slots: Literal["fixed", "online"] = "fixed"
    """Whether a unit's limits stay at their ceilings, or follow its time per output token."""
    slots_tpot_short_s: float = Field(default=0.1, ge=0)
    """Time per output token that 99 of 100 short streams are to keep; 0: their limit is fixed."""
    slots_tpot_long_s: float = Field(default=0.0, ge=0)
    """The same for long streams."""
    slots_interval_s: float = Field(default=1.0, gt=0)
    """Time between two decisions about the limits of a unit."""

    def tpot_objective_s(self, job_class: JobClass) -> float | None:
        """What the limit of a class follows; None: nothing, it stays at its ceiling."""
        wanted_s = self.slots_tpot_short_s if job_class == "short" else self.slots_tpot_long_s
        return wanted_s or None if self.slots == "online" else None
