"""The listener: reads the messages to this unit's dispatcher: wake-ups, and what it is to abort."""

from common.store import Store
from dispatcher.claimer import Claimer
from dispatcher.running import RunningJobs

_WAIT_S = 2.0


class Listener:
    """A message may be lost with Redis's memory: polling and leases back up what it says."""

    def __init__(self, store: Store, unit: str, claimer: Claimer, running: RunningJobs) -> None:
        self._store = store
        self._unit = unit
        self._claimer = claimer
        self._running = running

    async def step(self) -> None:
        for wake in await self._store.read_wakes(self._unit, _WAIT_S):
            if wake.kind == "cancel":
                self._running.cancel(wake.job, wake.attempt)
            elif wake.kind == "revoke":
                self._running.revoke(wake.job, wake.attempt)
            else:
                self._claimer.wake()
