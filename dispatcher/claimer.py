"""The claimer: decides when to claim, and starts what was claimed.

It claims when a wake-up comes, when a slot was freed and jobs wait (the forwarder does that), when
the last claim said to ask again, and when a look now and then finds that jobs wait or that a
wake-up was lost. A unit on trial gets one job, and no other while that one runs.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from common.connection import RedisUnavailable
from common.keys import JobClass
from common.models import Claim
from common.store import LATE_S
from dispatcher.caller import Caller
from dispatcher.forwarder import Forwarder
from dispatcher.health import UnitHealth
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJob

log = logging.getLogger(__name__)

_FULL_POLLS = 5
"""How much less often a unit without free slots looks for work."""

_OTHERS_LOOKS = 5
"""One look in so many also counts jobs of the other class."""


class Claimer:
    """Keeps one timer for the next claim; `stop` ends claiming for good."""

    def __init__(
        self,
        forwarder: Forwarder,
        caller: Caller,
        health: UnitHealth,
        metrics: Metrics,
        may_claim: Callable[[JobClass | None, float], Awaitable[bool]],
        poll_s: float,
    ) -> None:
        self._forwarder = forwarder
        self._caller = caller
        self._health = health
        self._metrics = metrics
        self._may_claim = may_claim
        self._poll_s = poll_s
        self.takes_any: Callable[[], bool] = lambda: True
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._draining = False
        self._trial: RunningJob | None = None
        self._role: JobClass = "short"
        self._looks = 0

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
        self._role = claim.role
        if claim.draining != self._draining:
            self._draining = claim.draining
            log.info("unit %s", "is draining: it takes no jobs" if claim.draining else "takes jobs")
        for job in claim.jobs:
            running = self._caller.start(job)
            self._trial = running if self._health.on_trial else None
            if self._stopped:
                running.abort("drained")
        if claim.wait_s is not None and claim.wait_s < self._poll_s:
            self._in(claim.wait_s, self._ask_again)
        else:
            # The end of one of its jobs tells a full unit more; only a raised limit comes sooner.
            self._in(self._poll_s * (_FULL_POLLS if claim.full else 1), self._look)

    def stop(self) -> None:
        self._stopped = True
        if self._timer:
            self._timer.cancel()

    def _in(self, wait_s: float, then: Callable[[], None]) -> None:
        if self._timer:
            self._timer.cancel()
        if not self._stopped:
            self._timer = asyncio.get_running_loop().call_later(wait_s, then)

    def _ask_again(self) -> None:
        """As the last claim said, unless by now nothing waits."""
        # The timer is set again here as well: a claim that is not asked for answers nothing.
        self._in(self._poll_s, self._look)
        # What opens its bounds says so, time as well.
        if self.takes_any():
            self._caller.spawn(self._look_first(None, 0.0))

    def _look(self) -> None:
        self._in(self._poll_s, self._look)
        self._looks += 1
        # What the other class has is its own units', mostly: they alone look for it each time.
        job_class = self._role if self._looks % _OTHERS_LOOKS else None
        if self.takes_any():
            self._caller.spawn(self._look_first(job_class, LATE_S))

    async def _look_first(self, job_class: JobClass | None, late_s: float) -> None:
        try:
            may = await self._may_claim(job_class, late_s)
        except RedisUnavailable:
            # The claim waits until Redis is back, and says so.
            may = True
        if may:
            self.wake()
