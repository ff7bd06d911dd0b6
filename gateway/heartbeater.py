"""Keeps this gateway's reply stream: while it exists, the pool takes the gateway for alive."""

import asyncio

from common.duty import run_duty
from common.store import Store


class Heartbeater:
    """Beats every heartbeat_s, and before a submit when the stream may be gone."""

    def __init__(self, store: Store, gateway: str, heartbeat_s: float) -> None:
        self._store = store
        self._gateway = gateway
        self._heartbeat_s = heartbeat_s
        self._sure = False

    async def run(self, stop: asyncio.Event) -> None:
        await run_duty("heartbeat", self.beat, stop, self._heartbeat_s)

    async def beat(self) -> None:
        await self._store.keep_replies(self._gateway)
        self._sure = True

    def doubt(self) -> None:
        """Redis was away: it may have come back without the stream."""
        self._sure = False

    async def ensure(self) -> None:
        """A job whose gateway has no stream would be cancelled by the unit that claims it."""
        if not self._sure:
            await self.beat()
