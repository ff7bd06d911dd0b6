"""Sees all that the adaptive decision needs."""

from collections.abc import Sequence

from common.models import PoolView, Survey
from common.policy import Policy
from common.prefill import Prefill, brought_s, left_s
from common.views import Views
from scaler.adaptive import Snapshot, UnitWork
from scaler.demand import DemandMeter


class Surveyor:
    """Remembers what arrived of late, so that the decision itself need not."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._meter = DemandMeter()

    async def look(self, view: PoolView, policy: Policy) -> Snapshot:
        """What units prefill at the time of a view, with what arrived until then."""
        survey = await self._views.survey([unit.name for unit in view.units])
        queue = view.queues["short"]
        usual_s = survey.short_tokens and policy.prefill_s(survey.short_tokens)
        demand = self._meter.look(
            view.now_ms / 1000,
            queue.taken + queue.depth,
            usual_s or None,
            policy.adaptive_memory_s,
        )
        return Snapshot(
            view=view,
            work={
                unit.name: self._work(unit.name, unit.pace, view, survey, policy)
                for unit in view.units
            },
            demand=demand,
            next_long_s=policy.prefill_s(survey.next_long_tokens) if survey.next_long_tokens else 0,
            prefilling=survey.prefilling,
        )

    def _work(
        self, unit: str, pace: float, view: PoolView, survey: Survey, policy: Policy
    ) -> UnitWork:
        short = _prefills(survey, unit, "short", view.now_ms)
        long = _prefills(survey, unit, "long", view.now_ms)
        return UnitWork(
            short_s=brought_s(short, policy, pace),
            long_s=left_s(long, policy, pace),
            long_prefills=sum(left_s([job], policy, pace) > 0 for job in long),
        )


def _prefills(survey: Survey, unit: str, job_class: str, now_ms: int) -> Sequence[Prefill]:
    return [
        Prefill(job.tokens, max(0, now_ms - job.claimed_ms) / 1000, job.streams)
        for job in survey.prefilling
        if job.unit == unit and job.job_class == job_class
    ]
