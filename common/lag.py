"""How late this process's event loop is: everything that it does waits so long as well."""

import asyncio
import time

from common.metrics import LOOP_LAG

_EVERY_S = 0.25


class LagMeter:
    """Asks to be woken and sees when it is.

    The loop's own clock stands still while the loop is held up, so another one measures.
    """

    async def run(self, stop: asyncio.Event) -> None:
        self._ask()
        try:
            await stop.wait()
        finally:
            self._timer.cancel()

    def _ask(self) -> None:
        asked_s = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._woken, asked_s)

    def _woken(self, asked_s: float) -> None:
        LOOP_LAG.observe(max(0.0, time.monotonic() - asked_s - _EVERY_S))
        self._ask()
