"""The claimer: decides when to claim, and starts what was claimed.

It claims when a wake-up comes, when a slot was freed (the forwarder does that in the same turn),
when the last claim said to ask again, and now and then in case a wake-up was lost. A unit on trial
gets one job, and no other while that one runs.
"""

import asyncio
import logging

from common.models import Claim
from dispatcher.caller import Caller
from dispatcher.forwarder import Forwarder
from dispatcher.health import UnitHealth
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJob

log = logging.getLogger(__name__)


class Claimer:
    """Keeps one timer for the next claim; `stop` ends claiming for good."""

    def __init__(
        self,
        forwarder: Forwarder,
        caller: Caller,
        health: UnitHealth,
        metrics: Metrics,
        poll_s: float,
    ) -> None:
        self._forwarder = forwarder
        self._caller = caller
        self._health = health
        self._metrics = metrics
        self._poll_s = poll_s
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._draining = False
        self._trial: RunningJob | None = None

    @property
    def serves(self) -> bool:
        """Whether the unit takes jobs."""
        return self._health.up and not self._stopped

    def most(self) -> int | None:
        """How many jobs a claim may bring now; None when only the unit's slots bound it."""
        if not self.serves:
            return 0
        if not self._health.on_trial:
            return None
        return 0 if self._trial and self._trial.calls else 1

    def wake(self) -> None:
        """Claim now, if the unit can take jobs."""
        if self.most() != 0:
            self._forwarder.ask_claim()

    def claimed(self, claim: Claim) -> None:
        """Start the jobs of a claim and set the time of the next."""
        self._metrics.claim(len(claim.jobs))
        if claim.draining != self._draining:
            self._draining = claim.draining
            log.info("unit %s", "is draining: it takes no jobs" if claim.draining else "takes jobs")
        for job in claim.jobs:
            running = self._caller.start(job)
            self._trial = running if self._health.on_trial else None
            if self._stopped:
                running.abort("drained")
        wait_s = self._poll_s if claim.wait_s is None else min(self._poll_s, claim.wait_s)
        self._in(wait_s)

    def stop(self) -> None:
        self._stopped = True
        if self._timer:
            self._timer.cancel()

    def _in(self, wait_s: float) -> None:
        if self._timer:
            self._timer.cancel()
        if not self._stopped:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._poll)

    def _poll(self) -> None:
        # The timer is set again here as well: a claim that is not asked for answers nothing.
        self._in(self._poll_s)
        self.wake()
