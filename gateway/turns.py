"""Keeps what takes long from holding up the loop, in which everybody's tokens are passed on."""

import asyncio
import time
from types import TracebackType

_OTHERS_SHARE = 6
"""How much longer the loop is others' after each turn than the turn took."""


class Turns:
    """One at a time, and a seventh of the loop's time for all. Who comes alone does not wait."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)
        self._begun_s = 0.0

    async def __aenter__(self) -> None:
        await self._turn.acquire()
        self._begun_s = time.monotonic()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        took_s = time.monotonic() - self._begun_s
        asyncio.get_running_loop().call_later(_OTHERS_SHARE * took_s, self._turn.release)
