"""The adjuster: follows what steals cost, and tells dispatchers how bold the next may be."""

from common.models import PoolView
from common.policy import Policy
from common.store import Store
from scaler.stealing import StealLimits, first_limits, next_limits


class Adjuster:
    """Keeps the limits exactly; what Redis holds of them is rounded, and outlives this scaler."""

    def __init__(self, store: Store, scaler: str) -> None:
        self._store = store
        self._scaler = scaler
        self._limits: StealLimits | None = None
        self._before: PoolView | None = None

    async def step(self, view: PoolView, policy: Policy) -> None:
        """Move the limits on to the time of a view, and say so if that makes a difference."""
        before, self._before = self._before, view
        if self._limits is None or before is None:
            self._limits = first_limits(view.stealing, policy)
        else:
            passed_s = max(0, view.now_ms - before.now_ms) / 1000
            self._limits = next_limits(
                self._limits, before.stealing, view.stealing, passed_s, policy
            )
        told = self._limits.rounded()
        if told != (view.stealing.idle_s, view.stealing.tokens):
            await self._store.adjust(self._scaler, *told)

    def rest(self) -> None:
        """Another policy decides now, or another scaler: what happens meanwhile is not followed."""
        self._limits = self._before = None
