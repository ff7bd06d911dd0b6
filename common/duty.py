"""The shape of a background duty: one loop that does one thing until it is told to stop.

`RedisUnavailable` is the only fault that a duty survives; the loop waits, longer each time, and
goes on. Anything else is a mistake and ends the process, so that a supervisor starts a clean one
and no heartbeat hides it.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from common.connection import RedisUnavailable
from common.metrics import REDIS_OUTAGES

log = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 2.0


class Backoff:
    """Waits that double from 50 ms to 2 s, spread at random so that nobody comes back in step."""

    def __init__(self, first_s: float = _FIRST_WAIT_S, longest_s: float = _LONGEST_WAIT_S) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0

    @property
    def tried(self) -> bool:
        """Whether there was a failure since the last success."""
        return self._failures > 0

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> float:
        """Count a failure; answers how long to wait now, in seconds."""
        wait_s: float = min(self._longest_s, self._first_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        return wait_s * random.uniform(0.5, 1.0)  # noqa: S311  # spreading, not a secret


async def sleep_or_stop(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for so long or until `stop`; answers whether it was `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return stop.is_set()
    return True


async def run_duty(
    name: str,
    step: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    every_s: float = 0.0,
) -> None:
    """Call `step` until `stop`, every_s apart (0: at once, for steps that wait themselves)."""
    while not stop.is_set():
        await run_once(name, step, stop)
        if every_s:
            await sleep_or_stop(stop, every_s)


async def run_once(name: str, step: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Call `step` until Redis lets it end, or until `stop`."""
    backoff = Backoff()
    while not stop.is_set():
        try:
            await step()
        except RedisUnavailable as outage:
            REDIS_OUTAGES.labels(name).inc()
            wait_s = backoff.failed()
            log.warning("redis away duty=%s wait_s=%.2f error=%s", name, wait_s, outage)
            await sleep_or_stop(stop, wait_s)
        else:
            return
