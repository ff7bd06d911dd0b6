"""Finds open requests whose jobs Redis has forgotten or ended unheard, and puts them right."""

import asyncio
import logging

from common.duty import run_duty
from common.views import Views
from gateway.canceller import Canceller
from gateway.mailbox import Mailbox, Mailboxes
from gateway.metrics import Metrics
from gateway.receiver import Receiver
from gateway.submitter import Submitter

log = logging.getLogger(__name__)


class Recoverer:
    """Looks every so often at the jobs that were open the last time as well.

    What a restarted Redis forgot is submitted again under the same id, while nothing of its answer
    was sent. A job that was finished before the receiver's last whole read, and of which nothing
    was heard, lost its last parts: its request ends with an error.
    """

    def __init__(
        self,
        views: Views,
        mailboxes: Mailboxes,
        submitter: Submitter,
        canceller: Canceller,
        receiver: Receiver,
        metrics: Metrics,
        every_s: float,
    ) -> None:
        self._views = views
        self._mailboxes = mailboxes
        self._submitter = submitter
        self._canceller = canceller
        self._receiver = receiver
        self._metrics = metrics
        self._every_s = every_s
        self._open_before: set[str] = set()
        self._finished_at_read: dict[str, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        await run_duty("recover", self.look, stop, self._every_s)

    async def look(self) -> None:
        waiting = [box for box in self._mailboxes if box.submitted and not box.end]
        old = [box for box in waiting if box.job.id in self._open_before]
        self._open_before = {box.job.id for box in waiting}
        states = await self._views.states([box.job.id for box in old])
        seen = list(zip(old, states, strict=True))
        for box, state in seen:
            if state is None:
                await self._resubmit(box)
        ended = [box for box, state in seen if state == "finished"]
        now = self._receiver.reads
        self._finished_at_read = {
            box.job.id: self._finished_at_read.get(box.job.id, now) for box in ended
        }
        for box in ended:
            # The read under way then may have begun before the job ended, the next one did not.
            if now >= self._finished_at_read[box.job.id] + 2:
                box.shut("forgotten")

    async def _resubmit(self, box: Mailbox) -> None:
        if box.begun:
            box.shut("forgotten")
            return
        job = box.job
        submitted = await self._submitter.once(job, again=True)
        self._metrics.resubmitted()
        log.warning("resubmitted job=%s answer=%s", job.id, submitted.status)
        if submitted.status == "full":
            box.shut("forgotten")
        elif job.id not in self._mailboxes:
            self._canceller.ask(job.id, job.job_class, "client left")
