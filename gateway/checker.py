"""The checker: estimates the start of a few jobs that wait here, and sees how that comes true.

The estimate is the one that `GET /v1/jobs/{id}` gives at that moment. From what comes true the
estimator learns; the answer's headers and a counter say it.
"""

import asyncio
import random
from dataclasses import dataclass

from common.duty import run_duty
from common.keys import CLASSES, JobClass
from common.models import Standing
from common.standing import Standings
from gateway.estimator import Estimate, Estimator
from gateway.mailbox import Head, Mailboxes
from gateway.metrics import Metrics

_AT_A_LOOK = 4
"""Jobs of a class that are estimated at a look, however many wait."""


@dataclass(frozen=True, slots=True)
class Told:
    """An estimate, and how long its job had waited by then."""

    estimate: Estimate
    after_s: float


class Checker:
    """Keeps the estimates of jobs that have not started."""

    def __init__(
        self,
        standings: Standings,
        estimator: Estimator,
        mailboxes: Mailboxes,
        metrics: Metrics,
        every_s: float,
    ) -> None:
        self._standings = standings
        self._estimator = estimator
        self._mailboxes = mailboxes
        self._metrics = metrics
        self._every_s = every_s
        self._told: dict[str, Told] = {}

    async def run(self, stop: asyncio.Event) -> None:
        await run_duty("check estimates", self.step, stop, self._every_s)

    async def step(self) -> None:
        """Estimate a few that have no estimate yet."""
        waiting: dict[JobClass, list[str]] = {name: [] for name in CLASSES}
        open_jobs = set()
        for box in self._mailboxes:
            open_jobs.add(box.job.id)
            if box.submitted and not box.head and not box.end and box.job.id not in self._told:
                waiting[box.job.job_class].append(box.job.id)
        self._told = {job: told for job, told in self._told.items() if job in open_jobs}
        for job_class, jobs in waiting.items():
            for job in random.sample(jobs, min(_AT_A_LOOK, len(jobs))):
                standing = await self._standings.of(job)
                if standing:
                    self._tell(job, job_class, standing)

    def started(self, job: str, job_class: JobClass, head: Head) -> list[tuple[bytes, bytes]]:
        """An answer begins: learn, count, and say in headers what its client was to be told."""
        told = self._told.pop(job, None)
        # An attempt that failed is no fault of the estimate, and its start is not known here.
        if told is None or head.attempt != 1:
            return []
        waited_s = head.queue_ms / 1000 - told.after_s
        if waited_s < 0:
            return []
        result = self._estimator.started(job_class, told.estimate, waited_s)
        self._metrics.estimated(job_class, result)
        return [
            (b"x-adasplit-estimate-ms", b"%d" % round(told.estimate.told_s * 1000)),
            (b"x-adasplit-estimated-after-ms", b"%d" % round(told.after_s * 1000)),
        ]

    def _tell(self, job: str, job_class: JobClass, standing: Standing) -> None:
        estimate = self._estimator.of(job_class, standing)
        if estimate:
            self._told[job] = Told(estimate, standing.age_s)
