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
    adaptive_steal_regret_share: float = Field(default=0.1, ge=0)
    """Seconds that short jobs may lose to each second of a stolen prefill."""
    adaptive_steal_debt_s: float = Field(default=3.0, ge=0)
    """Seconds that short jobs lose beyond that share before steals become more careful."""
    adaptive_steal_idle_most_s: float = Field(default=30.0, ge=0)
    """The longest that costly steals make `rasp_steal_cooldown_s`."""
    adaptive_steal_tokens_least: int = Field(default=8192, ge=1)
    """The smallest that costly steals make the largest prompt that may be stolen."""
    adaptive_steal_tokens_most: int = Field(default=131072, ge=1)
    """The largest prompt that may be stolen."""
    adaptive_steal_recovery_s: float = Field(default=1200.0, gt=0)
    """Time in which both go from their most careful to their boldest, when no steal costs much."""
    adaptive_revocations: int = Field(default=1, ge=0)
    """How often a long job without a first byte may be handed back for short ones; 0: never."""
    adaptive_revoke_wait_s: float = Field(default=0.1, ge=0)
    """A long job is handed back only when a short job has waited for so long."""
    adaptive_revoke_ahead_s: float = Field(default=1.5, ge=0)
    """And when it would have to wait for so long still, which the long prefill lasts at least."""
    adaptive_revoke_share: float = Field(default=0.02, ge=0)
    """Share of the units' time whose prefill work may be thrown away for short jobs."""
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
