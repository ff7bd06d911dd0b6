"""A store that counts what its dispatchers ask of it, and asks for a few of them at a time."""

import asyncio
from dataclasses import dataclass
from typing import Any

from common.models import Submitted, Turn
from common.store import Store

AT_A_TIME = 64


@dataclass(slots=True)
class Counts:
    """What happened while it was counted."""

    submits: int = 0
    claims: int = 0
    empty: int = 0
    wakes: int = 0
    looks: int = 0


class CountingStore(Store):
    """A store that knows how often units claimed and looked."""

    counts = Counts()
    at_once = asyncio.Semaphore(AT_A_TIME)
    """One process for all dispatchers: it has not a connection for each of thousands."""

    async def turn(self, unit: str, **said: Any) -> Turn:
        async with self.at_once:
            turn = await super().turn(unit, **said)
        if turn.claim:
            self.counts.claims += 1
            self.counts.empty += not turn.claim.jobs
        return turn

    async def may_claim(self, *asked: Any, **more: Any) -> bool:
        self.counts.looks += 1
        async with self.at_once:
            return await super().may_claim(*asked, **more)

    async def submit(self, *said: Any, **more: Any) -> Submitted:
        async with self.at_once:
            return await super().submit(*said, **more)
