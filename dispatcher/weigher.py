"""The weigher: measures what short jobs lose to the long jobs that a Short unit takes."""

import asyncio

from common.connection import RedisUnavailable
from common.duty import sleep_or_stop
from common.models import Claim
from common.prefill import Prefill, left_s
from common.steals import Weighed
from common.store import Store
from dispatcher.bounder import Bounder
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJob, RunningJobs

EVERY_S = 0.1
"""Time between two looks: a wait that falls between them is none that a client would feel."""


class Weigher:
    """Looks at a steal until its prefill is over; the script keeps the account.

    A look that finds Redis away is left out: what was lost meanwhile no steal is to blame for.
    """

    def __init__(
        self, store: Store, unit: str, running: RunningJobs, bounder: Bounder, metrics: Metrics
    ) -> None:
        self._store = store
        self._unit = unit
        self._running = running
        self._bounder = bounder
        self._metrics = metrics

    def stolen(self, claim: Claim) -> list[RunningJob]:
        """Which of a claim's jobs are to be followed."""
        if claim.role != "short":
            return []
        long = (self._running.get(job.id) for job in claim.jobs if job.job_class == "long")
        return [running for running in long if running and running.task]

    def first_byte(self, running: RunningJob) -> None:
        if running.prefilled:
            running.prefilled.set()

    async def follow(self, running: RunningJob) -> None:
        """Look until its prefill is over, and once more."""
        over = running.prefilled = asyncio.Event()
        if running.task:
            running.task.add_done_callback(lambda _: over.set())
        while not over.is_set() and not self._begun(running):
            await self._look(running, over=False)
            await sleep_or_stop(over, EVERY_S)
        regret_s = await self._look(running, over=True)
        if regret_s is not None:
            self._metrics.weighed(regret_s)

    async def _look(self, running: RunningJob, *, over: bool) -> float | None:
        room = self._bounder.policy.limit("short")
        steal = Weighed(running.job.id, running.job.attempt, self._behind(running), room)
        try:
            return await self._store.weigh(self._unit, steal, over=over)
        except RedisUnavailable:
            return None

    def _begun(self, running: RunningJob) -> bool:
        """An answer in one piece shows no first byte: its prefill is as long as estimated."""
        if running.sent or running.job.stream:
            return running.sent
        prefill = Prefill(running.job.tokens, running.age_s, streams=False)
        return left_s([prefill], self._bounder.policy, self._bounder.pace) == 0

    def _behind(self, steal: RunningJob) -> int:
        return sum(
            other.job.job_class == "short" and not other.sent and other.started_s >= steal.started_s
            for other in self._running.all()
        )
