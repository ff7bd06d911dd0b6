"""What somebody pressed in rq-dashboard, done in AdaSplit."""

import logging
from typing import Literal, cast

from common.dead import DeadLetters
from common.inspection import Inspection
from common.keys import JobClass
from common.store import Store
from common.views import Views
from dashboard.metrics import PRESSES
from dashboard.projector import Projector
from dashboard.reviver import Reviver
from dashboard.settings import DashboardSettings

log = logging.getLogger(__name__)

Pressed = Literal["OK", "ERROR"]

_REASON = "deleted in the dashboard"


class Presses:
    """Deletes and runs again, one job or all of a place. All raise `RedisUnavailable`.

    A waiting job is ended, a running one aborted at its unit; what has ended is shown no more. A
    dead job is run again under a new id.
    """

    def __init__(
        self,
        store: Store,
        views: Views,
        inspection: Inspection,
        dead: DeadLetters,
        reviver: Reviver,
        projector: Projector,
        settings: DashboardSettings,
    ) -> None:
        self._store = store
        self._views = views
        self._inspection = inspection
        self._dead = dead
        self._reviver = reviver
        self._projector = projector
        self._pool = settings.pool
        self._most = settings.dashboard_rq_jobs

    async def delete(self, job: str) -> Pressed:
        """End a job, or forget one that has ended."""
        fields = await self._views.job(job)
        if fields and fields.get("state") != "finished":
            job_class = cast("JobClass", fields["class"])
            answer = await self._store.cancel(job, job_class, fields.get("gateway", ""), _REASON)
        else:
            await self._dead.forget(job, self._most)
            self._projector.hide(job)
            answer = "OK"
        return await self._done("delete", job, answer in {"OK", "ASKED", "FINISHED"})

    async def requeue(self, job: str) -> Pressed:
        """Run a dead job again. ERROR: it is not dead, its body is gone, or the queue is full."""
        return await self._done("requeue", job, await self._reviver.revive(job) == "again")

    async def requeue_all(self, job_class: str) -> int:
        """Run all dead jobs of a class again; answers how many can be."""
        letters = await self._inspection.dead(self._most)
        jobs = [letter.job for letter in letters if letter.job_class == job_class]
        return [await self.requeue(job) for job in jobs].count("OK")

    async def empty(self, job_class: str, place: str) -> Pressed:
        """Delete all that is shown of a class in a place."""
        for job in self._projector.shown(job_class, place):
            await self.delete(job)
        return "OK"

    async def _done(self, kind: str, job: str, well: bool) -> Pressed:  # noqa: FBT001  # what came of it
        outcome: Pressed = "OK" if well else "ERROR"
        PRESSES.labels(self._pool, kind, outcome.lower()).inc()
        log.info("pressed kind=%s job=%s outcome=%s", kind, job, outcome)
        return outcome
