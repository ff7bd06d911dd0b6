"""Reads this gateway's reply stream and hands each part to whom it is for."""

import asyncio
import time

from common.duty import run_duty
from common.store import Store
from gateway.mailbox import Mailboxes
from gateway.watcher import Watcher

_WAIT_S = 1.0


class Receiver:
    """One reader for all answers: a read per request would cost each of them.

    `reads`: how many were complete, so that others can tell what it must have seen by now.
    """

    def __init__(
        self, store: Store, gateway: str, mailboxes: Mailboxes, watcher: Watcher, trim_s: float
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._mailboxes = mailboxes
        self._watcher = watcher
        self._trim_s = trim_s
        self.reads = 0
        self._last = "0-0"
        self._trimmed = self._last
        self._trim_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        await run_duty("receive", self._step, stop)

    async def _step(self) -> None:
        self._last, batches = await self._store.read_replies(self._gateway, self._last, _WAIT_S)
        if batches and not self._watcher.fresh:
            # Whoever is answered now may ask again at once, and is not to hear that Redis is away.
            await self._watcher.catch_up()
        for batch in batches:
            for part in batch:
                self._mailboxes.deliver(part)
        self.reads += 1
        if self._last != self._trimmed and time.monotonic() >= self._trim_at:
            await self._trim()

    async def _trim(self) -> None:
        # What was handed out is gone from Redis only now: a reader that fails reads it again.
        await self._store.trim_replies(self._gateway, self._last)
        self._trimmed = self._last
        self._trim_at = time.monotonic() + self._trim_s
