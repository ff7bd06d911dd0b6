"""The renewer: extends the leases of what runs here, and aborts what is superseded."""

from common.store import Store
from dispatcher.running import RunningJobs


class Renewer:
    """Renews all running jobs in one call."""

    def __init__(self, store: Store, unit: str, running: RunningJobs) -> None:
        self._store = store
        self._unit = unit
        self._running = running

    async def step(self) -> None:
        held = self._running.held()
        if not held:
            return
        attempts = dict(held)
        for job in await self._store.renew(self._unit, held):
            self._running.abort(job, "superseded", attempts[job])
