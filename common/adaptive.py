"""The numbers of the adaptive policy; docs/policy.md says where each comes from."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AdaptivePolicy(BaseModel):
    """Inert while `policy` is published."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    policy: Literal["published", "adaptive"] = "published"
    """Who decides: the published rules, or what waits and runs counted in prefill time."""
    adaptive_interval_s: float = Field(default=0.2, gt=0)
    """Time between two adaptive decisions of the scaler."""
    adaptive_cooldown_s: float = Field(default=1.0, ge=0)
    """Time after an adaptive flip in which there is no other."""
    adaptive_give_margin: float = Field(default=0.6, ge=0)
    """The Short group gives a unit if it keeps its load and this times the load's square root."""
    adaptive_take_margin: float = Field(default=0.5, ge=0)
    """The Short group takes a unit back when it has less than its load and this times the root."""
    adaptive_commitment_s: float = Field(default=30.0, gt=0)
    """A prefill of this length doubles `adaptive_give_margin`; a shorter one adds in proportion."""
    adaptive_take_wait_s: float = Field(default=0.1, ge=0)
    """The Short group takes a unit back when a short job has waited longer."""
    adaptive_free_within_s: float = Field(default=3.0, ge=0)
    """Only a Long unit whose long prefills end sooner is taken back: another is no help yet."""
    adaptive_memory_s: float = Field(default=15.0, gt=0)
    """How long an arrival counts when the work that short jobs bring is measured."""
    adaptive_backlog_s: float = Field(default=0.4, gt=0)
    """Short jobs wait in the queue, not at a unit, that has so much prefill before them."""
    adaptive_beside_s: float = Field(default=0.3, ge=0)
    """Short jobs join a unit only if the long prefill left there is shorter."""
    adaptive_long_prefills: int = Field(default=1, ge=1)
    """Long jobs that a unit prefills at a time; more would only wait there."""
    adaptive_drain_s: float = Field(default=1.0, ge=0)
    """How long a unit that became Long waits for its short jobs before it takes a long one."""
    adaptive_size_weight: float = Field(default=100.0, ge=0)
    """A long job goes behind those that come within its prefill time times this; 0: in order."""
    adaptive_oldest_every: int = Field(default=8, ge=1)
    """While a job has starved, every so many claims take the oldest first."""
    prefill_overhead_s: float = Field(default=0.02, ge=0)
    """Prefill time of a prompt, whatever its length, before a unit's own pace is known."""
    prefill_1k_tokens_s: float = Field(default=0.117, gt=0)
    """Prefill time of 1,000 tokens."""
    prefill_attention_s: float = Field(default=0.002, ge=0)
    """Prefill time of attention, at 1,000 tokens; it grows with their square."""

    def prefill_s(self, tokens: int) -> float:
        """About how long a unit of usual pace prefills a prompt that it gets alone."""
        ktokens = tokens / 1000
        return (
            self.prefill_overhead_s
            + self.prefill_1k_tokens_s * ktokens
            + self.prefill_attention_s * ktokens * ktokens
        )

    @property
    def adaptive(self) -> bool:
        return self.policy == "adaptive"
