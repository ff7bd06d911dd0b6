"""The numbers of the policy, as settings give them and `P:policy` overrides them."""

from collections.abc import Mapping

from pydantic import ConfigDict, Field, ValidationError, field_validator

from common.adaptive import AdaptivePolicy
from common.keys import JobClass
from common.online import OnlineSlots

_LEAST, _MOST = 1e-9, 1e15
"""In milliseconds, and added to a time, Redis still counts the largest in whole numbers."""


class Policy(AdaptivePolicy, OnlineSlots):
    """Every number that decides who runs what; defaults are the published rules."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    worker_concurrency_limit: int = Field(default=8, ge=1)
    """Jobs that a unit holds at a time."""
    worker_concurrency_limit_short: int | None = Field(default=None, ge=1)
    """Short jobs that fill a unit alone; the general limit when not set."""
    worker_concurrency_limit_long: int | None = Field(default=None, ge=1)
    """Long jobs that fill a unit alone; the general limit when not set."""
    long_threshold_tokens: int = Field(default=4096, ge=1)
    """Prompt tokens from which a job is long."""
    qhap_interval_s: float = Field(default=0.5, gt=0)
    """Time between two decisions of the scaler."""
    qhap_scale_up_above: int = Field(default=10, ge=0)
    """A Short unit becomes Long while more long jobs than this wait."""
    qhap_scale_down_below: int = Field(default=2, ge=0)
    """A Long unit becomes Short while fewer long jobs than this wait."""
    qhap_min_short: int = Field(default=1, ge=1)
    """Short units that there are at least."""
    qhap_min_long: int = Field(default=1, ge=0)
    """Long units that there are at least, when there are units enough; 0 is the literal rule."""
    qhap_cooldown_s: float = Field(default=5.0, ge=0)
    """Time after a flip in which there is no other."""
    rasp_steal: bool = True
    """Whether an idle Short unit may take a long job."""
    rasp_steal_cooldown_s: float = Field(default=2.0, ge=0)
    """How long a Short unit has had nothing in flight before it may take a long job."""
    rasp_long_takes_short: bool = True
    """Whether a Long unit without long jobs may take short ones."""
    starvation_bound_s: float = Field(default=60.0, ge=0)
    """A job that waits longer may be taken by any unit; 0 is never."""
    max_queue_depth_short: int = Field(default=1000, ge=1)
    """Short jobs that may wait; more are refused."""
    max_queue_depth_long: int = Field(default=200, ge=1)
    """Long jobs that may wait; more are refused."""
    max_queue_bytes: int = Field(default=1024**3, ge=1)
    """Bytes that the bodies of all unfinished jobs may have; more are refused."""

    @field_validator("*")
    @classmethod
    def _can_be_counted_with(cls, value: object) -> object:
        # Also refuses inf and nan: no process is to end over a number that somebody overrides.
        if isinstance(value, int | float) and value and not _LEAST <= abs(value) <= _MOST:
            raise ValueError(f"must be 0, or between {_LEAST:g} and {_MOST:g} in size")
        return value

    def limit(self, job_class: JobClass) -> int:
        """Jobs of one class that fill a unit alone."""
        own = {
            "short": self.worker_concurrency_limit_short,
            "long": self.worker_concurrency_limit_long,
        }
        return own[job_class] or self.worker_concurrency_limit

    def later_s(self, job_class: JobClass, tokens: int) -> float:
        """How much later than it came a job counts as having come, for its size."""
        if not self.adaptive or job_class == "short":
            return 0.0
        return self.adaptive_size_weight * self.prefill_s(tokens)

    @property
    def decision_every_s(self) -> float:
        """Time between two decisions of the scaler, of the policy in force."""
        return self.adaptive_interval_s if self.adaptive else self.qhap_interval_s

    @property
    def flip_cooldown_s(self) -> float:
        """Time after a flip in which there is no other, of the policy in force."""
        return self.adaptive_cooldown_s if self.adaptive else self.qhap_cooldown_s

    def with_overrides(self, overrides: Mapping[str, str]) -> "Policy":
        """This policy with the live overrides; raises ValidationError when one is wrong."""
        known = {name: value for name, value in overrides.items() if name in Policy.model_fields}
        return Policy.model_validate(self.model_dump() | known)

    def under(self, overrides: Mapping[str, str]) -> "Policy":
        """This policy with the live overrides that are right."""
        wrong = self.wrong(overrides)
        return self.with_overrides({k: v for k, v in overrides.items() if k not in wrong})

    def wrong(self, overrides: Mapping[str, str]) -> dict[str, str]:
        """The overrides that are no value of their setting; unknown names are not wrong."""
        return {name: value for name, value in overrides.items() if not self._fits(name, value)}

    def _fits(self, name: str, value: str) -> bool:
        try:
            self.with_overrides({name: value})
        except ValidationError:
            return False
        return True
