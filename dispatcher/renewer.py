"""The renewer: extends the leases of what runs here, and aborts what nobody waits for."""

from common.store import Store
from common.views import Views
from dispatcher.running import RunningJobs


class Renewer:
    """Renews all running jobs in one call.

    A job that says nothing for long would not notice otherwise that its gateway is gone.
    """

    def __init__(self, store: Store, views: Views, unit: str, running: RunningJobs) -> None:
        self._store = store
        self._views = views
        self._unit = unit
        self._running = running

    async def step(self) -> None:
        held = self._running.held()
        if not held:
            return
        attempts = dict(held)
        for job in await self._store.renew(self._unit, held):
            self._running.abort(job, "superseded", attempts[job])
        for gateway in await self._views.gone_gateways(self._running.gateways()):
            self._running.abort_all("gateway gone", gateway)
