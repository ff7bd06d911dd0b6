"""The prober: looks at the unit's health, models and load, and brings a failed unit back."""

import asyncio
import logging

from common.duty import run_once
from dispatcher.health import UnitHealth
from dispatcher.unit_client import UnitClient

log = logging.getLogger(__name__)


class Prober:
    """`models` and `load` are the unit's last words; a load that it stopped to say is gone."""

    def __init__(self, client: UnitClient, health: UnitHealth) -> None:
        self._client = client
        self._health = health
        self.models: tuple[str, ...] = ()
        self.load: dict[str, float] = {}

    async def run(self, stop: asyncio.Event, every_s: float) -> None:
        """Probe every so often, and as soon as a unit that failed may be asked again."""
        while not stop.is_set():
            await run_once("probe", self.step, stop)
            await self._health.due(every_s)

    async def step(self) -> None:
        if not self._health.up and not self._health.may_probe:
            return
        if not await self._client.healthy():
            self.load = {}
            self._health.unanswered()
            return
        models = await self._client.models()
        if models:
            self.models = models
        self.load = await self._client.load()
        self._health.probed()
