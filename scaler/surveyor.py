"""Sees all that the adaptive decision needs."""

from common.models import PoolView
from common.policy import Policy
from common.prefill import Prefill, brought_s, left_s
from common.survey import Survey
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
        prefills = _by_unit(survey, view.now_ms)
        paces = {unit.name: unit.pace for unit in view.units}
        return Snapshot(
            view=view,
            work={
                name: _work(short, long, policy, paces[name])
                for name, (short, long) in prefills.items()
            },
            demand=demand,
            next_long_s=policy.prefill_s(survey.next_long_tokens) if survey.next_long_tokens else 0,
            prefilling=survey.prefilling,
        )


_Prefills = tuple[list[Prefill], list[Prefill]]


def _by_unit(survey: Survey, now_ms: int) -> dict[str, _Prefills]:
    """The short and the long prompts that each unit prefills, of those that prefill any."""
    found: dict[str, _Prefills] = {}
    for job in survey.prefilling:
        short, long = found.setdefault(job.unit, ([], []))
        age_s = max(0, now_ms - job.claimed_ms) / 1000
        (short if job.job_class == "short" else long).append(
            Prefill(job.tokens, age_s, job.streams)
        )
    return found


def _work(short: list[Prefill], long: list[Prefill], policy: Policy, pace: float) -> UnitWork:
    return UnitWork(
        short_s=brought_s(short, policy, pace),
        long_s=left_s(long, policy, pace),
        long_prefills=sum(left_s([job], policy, pace) > 0 for job in long),
    )
