"""The revoker: asks units to hand back long jobs that keep them from short ones."""

import logging

from common.policy import Policy
from common.store import Store
from scaler.metrics import FLIPS, REVOCATIONS
from scaler.revoking import Budget, decide
from scaler.surveyor import Surveyor

log = logging.getLogger(__name__)


class Revoker:
    """One job a decision; what that throws away is paid from a budget."""

    def __init__(self, store: Store, scaler: str, pool: str) -> None:
        self._store = store
        self._scaler = scaler
        self._pool = pool
        self._budget = Budget()
        self._before_ms: int | None = None

    async def step(self, surveyor: Surveyor, policy: Policy) -> str:
        """Decide once; answers how the script took it, or nothing when nothing is to be done."""
        seen = surveyor.seen()
        now_ms = seen.view.now_ms
        passed_s = max(0, now_ms - (self._before_ms or now_ms)) / 1000
        self._before_ms = now_ms
        self._budget.grow(sum(unit.alive for unit in seen.view.units), passed_s, policy)
        wanted = await surveyor.choose(lambda now: decide(now, policy, self._budget.left_s))
        if wanted is None:
            return ""
        job = wanted.found
        if wanted.flips:
            flipped = await self._store.flip(self._scaler, job.unit, "short", wanted.reason, policy)
            if flipped != "OK":
                return ""
            FLIPS.labels(self._pool, "short").inc()
        answer = await self._store.revoke(
            self._scaler, job, policy.adaptive_revocations, wanted.reason
        )
        REVOCATIONS.labels(self._pool, answer.lower()).inc()
        log.info("revoked job=%s unit=%s answer=%s", job.job, job.unit, answer)
        if answer == "OK":
            self._budget.spend(wanted.lost_s)
        return answer
