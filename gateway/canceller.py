"""Cancels the jobs that nobody waits for any more, also when Redis is away for a while."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, replace

from common.connection import RedisUnavailable
from common.duty import run_duty
from common.keys import JobClass
from common.models import Outcome
from common.store import Store

log = logging.getLogger(__name__)


_MOST_WISHES = 10_000
"""The oldest go first in a long outage: leases and deadlines end those jobs all the same."""

_AGAIN_S = 1.0
"""A submit whose reply was lost can reach Redis after its cancel: ask once more then."""


@dataclass(frozen=True, slots=True)
class _Wish:
    job: str
    job_class: JobClass
    reason: str
    outcome: Outcome
    again: bool = False


class Canceller:
    """A request that ends early leaves its job here and need not wait."""

    def __init__(self, store: Store, gateway: str) -> None:
        self._store = store
        self._gateway = gateway
        self._wishes: deque[_Wish] = deque(maxlen=_MOST_WISHES)
        self._asked = asyncio.Event()
        self._done = asyncio.Event()
        self._done.set()

    def ask(
        self, job: str, job_class: JobClass, reason: str, outcome: Outcome = "cancelled"
    ) -> None:
        self._add(_Wish(job, job_class, reason, outcome))

    def _add(self, wish: _Wish) -> None:
        self._wishes.append(wish)
        self._done.clear()
        self._asked.set()

    async def run(self, stop: asyncio.Event) -> None:
        await run_duty("cancel", self._step, stop)

    async def flush(self, longest_s: float) -> None:
        """Wait until nothing is left to cancel, for so long at most."""
        try:
            async with asyncio.timeout(longest_s):
                await self._done.wait()
        except TimeoutError:
            log.warning("left jobs uncancelled jobs=%d", len(self._wishes))

    async def _step(self) -> None:
        await self._asked.wait()
        while self._wishes:
            wish = self._wishes.popleft()
            try:
                answer = await self._store.cancel(
                    wish.job, wish.job_class, self._gateway, wish.reason, wish.outcome
                )
            except RedisUnavailable:
                self._wishes.appendleft(wish)
                raise
            if answer == "UNKNOWN" and not wish.again:
                asyncio.get_running_loop().call_later(
                    _AGAIN_S, self._add, replace(wish, again=True)
                )
            log.info("cancelled job=%s reason=%r answer=%s", wish.job, wish.reason, answer)
        self._asked.clear()
        self._done.set()
