"""The bounder: says how many jobs the next claim may bring, from what the unit runs now.

It follows the live overrides of the policy: scripts read them where they need them, this does not
run in one.
"""

import time
from collections.abc import Mapping

from common.keys import JobClass
from common.models import UNBOUNDED, Bounds, Claim
from common.policy import Policy
from common.prefill import Prefill
from common.steals import Stealing
from common.views import Views
from dispatcher.bounds import UnitState, bounds
from dispatcher.pace import Pace
from dispatcher.running import RunningJob, RunningJobs


class Bounder:
    """Keeps the role that the last claim said, and the unit's pace."""

    def __init__(self, views: Views, policy: Policy, running: RunningJobs) -> None:
        self._views = views
        self._settings = policy
        self._policy = policy
        self._running = running
        self._overrides: Mapping[str, str] = {}
        self._stealing = Stealing()
        self._pace = Pace()
        self._role: JobClass = "short"
        self._role_since_s = float("-inf")
        self._listed = UNBOUNDED

    @property
    def policy(self) -> Policy:
        """The policy in force, with its live overrides."""
        return self._policy

    @property
    def pace(self) -> float:
        return self._pace.value

    def bounds(self) -> Bounds:
        if not self._policy.adaptive:
            return UNBOUNDED
        return bounds(self._state(), self._policy, self._stealing)

    def claimed(self, claim: Claim) -> None:
        """A claim came back, and what it brought runs."""
        if claim.role != self._role and not claim.draining:
            self._role, self._role_since_s = claim.role, time.monotonic()
        # Of a full unit the next finish says what it takes.
        self._listed = UNBOUNDED if claim.full else self.bounds()

    def rested(self, bounds: Bounds) -> None:
        """A finish without a claim told Redis these bounds."""
        self._listed = bounds

    @property
    def opened(self) -> bool:
        """Whether the unit takes a class now that it did not when Redis heard its bounds last.

        Nobody would wake it for a job of that class, and one may wait.
        """
        return self.bounds().opens(self._listed)

    def first_byte(self, running: RunningJob) -> None:
        job = running.job
        long = job.job_class == "long"
        now_s = time.monotonic()
        self._pace.first_byte(now_s, running.started_s, job.tokens, self._policy, long=long)

    async def step(self) -> None:
        """Look whether somebody overrides the policy now, and what steals may be."""
        overrides = await self._views.overrides()
        if overrides != self._overrides:
            self._overrides = overrides
            self._policy = self._settings.under(overrides)
        if self._policy.adaptive:
            self._stealing = await self._views.stealing()

    def _state(self) -> UnitState:
        unsent: dict[JobClass, list[Prefill]] = {"short": [], "long": []}
        held = [running for running in self._running.all() if not running.ended]
        for running in held:
            if not running.sent:
                prefill = Prefill(running.job.tokens, running.age_s, running.job.stream)
                unsent[running.job.job_class].append(prefill)
        return UnitState(
            short=tuple(unsent["short"]),
            long=tuple(unsent["long"]),
            short_held=sum(running.job.job_class == "short" for running in held),
            role=self._role,
            role_age_s=time.monotonic() - self._role_since_s,
            pace=self._pace.value,
        )
