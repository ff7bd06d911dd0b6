"""How late this process's event loop is: everything that it does waits so long as well."""

import asyncio
import time

from common.duty import sleep_or_stop
from common.metrics import LOOP_LAG

_EVERY_S = 0.25


class LagMeter:
    """Asks to be woken and sees when it is.

    The loop's own clock stands still while the loop is held up, so another one measures.
    """

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            asked_s = time.monotonic()
            if not await sleep_or_stop(stop, _EVERY_S):
                LOOP_LAG.observe(max(0.0, time.monotonic() - asked_s - _EVERY_S))
