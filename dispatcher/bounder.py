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
        if claim.role != self._role and not claim.draining:
            self._role, self._role_since_s = claim.role, time.monotonic()

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
        for running in self._running.all():
            if not running.sent:
                prefill = Prefill(running.job.tokens, running.age_s, running.job.stream)
                unsent[running.job.job_class].append(prefill)
        return UnitState(
            short=tuple(unsent["short"]),
            long=tuple(unsent["long"]),
            short_held=self._running.count("short"),
            role=self._role,
            role_age_s=time.monotonic() - self._role_since_s,
            pace=self._pace.value,
        )
