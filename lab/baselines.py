"""The policies of the comparison on virtual time: the books of `baseline`, without its HTTP."""

from collections.abc import Sequence

from baseline.policies import policy_named
from baseline.pool import Job, Unit
from baseline.queues import Placed, QueueFull, Queues
from bench.contenders import Contender
from common.keys import JobClass
from common.policy import Policy
from lab.agenda import Agenda
from lab.asking import Asking
from lab.unit import VirtualUnit
from simulator.costs import CostModel
from simulator.engine import Sequence as Prompt
from simulator.engine import State

_DEPTHS: dict[JobClass, str] = {"short": "max_queue_depth_short", "long": "max_queue_depth_long"}


class Baseline:
    """One policy of `baseline` before as many units as it is given names."""

    def __init__(
        self,
        agenda: Agenda,
        costs: CostModel,
        policy: Policy,
        units: Sequence[str],
        contender: Contender,
    ) -> None:
        self._agenda = agenda
        self._asked: dict[str, Asking] = {}
        self._units = {unit: VirtualUnit(agenda, costs, self._told) for unit in units}
        limits = policy.limit("short"), policy.limit("long")
        short = contender.partition[0] if contender.partition else None
        self._queues = Queues(
            policy_named(contender.kind, units, short),
            [Unit(unit, *limits) for unit in units],
            {job_class: getattr(policy, depth) for job_class, depth in _DEPTHS.items()},
        )

    async def start(self) -> None:
        """Nothing is to be prepared."""

    async def end(self) -> None:
        """Nothing is left to be seen."""

    async def submit(self, asking: Asking) -> None:
        self._asked[asking.job] = asking
        job = Job(asking.job, asking.job_class, self._agenda.now_s)
        try:
            self._place(self._queues.submit(job))
        except QueueFull:
            asking.ended("http_429:queue_full", self._agenda.now_s)

    async def cancel(self, asking: Asking) -> None:
        unit = asking.row.headers.get("unit")
        if unit:
            self._units[unit].abort(asking.prompt)
        self._place(self._queues.end(asking.job))

    def _place(self, placed: Sequence[Placed]) -> None:
        for one in placed:
            asking = self._asked[one.job.id]
            asking.placed(one.unit, self._agenda.now_s)
            self._units[one.unit].add_after(asking.path_s, asking.prompt)

    async def _told(self, emitted: Sequence[Prompt]) -> None:
        for prompt in emitted:
            asking: Asking = prompt.owner
            asking.wrote()
            if prompt.state is State.FINISHED:
                asking.answered()
                self._place(self._queues.end(asking.job))
