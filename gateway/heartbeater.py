"""Says that this gateway lives, and keeps its reply stream."""

import asyncio

from common.duty import run_duty
from common.store import Store


class Heartbeater:
    """Beats every heartbeat_s; a submit that finds the gateway unknown beats by itself."""

    def __init__(self, store: Store, gateway: str, heartbeat_s: float) -> None:
        self._store = store
        self._gateway = gateway
        self._heartbeat_s = heartbeat_s

    async def run(self, stop: asyncio.Event) -> None:
        await run_duty("heartbeat", self.beat, stop, self._heartbeat_s)

    async def beat(self) -> None:
        await self._store.beat(self._gateway)
