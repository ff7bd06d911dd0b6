"""The heartbeater: says that this unit can claim, what it is, and what it reports of itself."""

from common.scripts import Arg
from common.store import Store
from dispatcher.bounder import Bounder
from dispatcher.health import UnitHealth
from dispatcher.limiter import Limiter
from dispatcher.prober import Prober
from dispatcher.settings import DispatcherSettings


class Heartbeater:
    """Beats only while the unit takes jobs: silence makes it a dead unit for everybody."""

    def __init__(
        self,
        store: Store,
        health: UnitHealth,
        prober: Prober,
        bounder: Bounder,
        limiter: Limiter,
        settings: DispatcherSettings,
    ) -> None:
        self._store = store
        self._health = health
        self._prober = prober
        self._bounder = bounder
        self._limiter = limiter
        self._settings = settings

    async def step(self) -> None:
        if self._health.up:
            await self._store.register(self._settings.unit, self._fields())

    def _fields(self) -> dict[str, Arg]:
        fields: dict[str, Arg] = {
            "url": self._settings.unit_url,
            "limit": self._settings.worker_concurrency_limit,
            "limit_short": self._settings.worker_concurrency_limit_short or "",
            "limit_long": self._settings.worker_concurrency_limit_long or "",
            "online_short": self._limiter.limit("short") or "",
            "online_long": self._limiter.limit("long") or "",
            "models": "\n".join(self._prober.models),
            "health": "up",
            "pace": f"{self._bounder.pace:.3f}",
        }
        return fields | {f"unit_{name}": value for name, value in self._prober.load.items()}
