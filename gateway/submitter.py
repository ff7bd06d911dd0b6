"""Submits a job, and says what it means for the request when that fails."""

import asyncio
import logging
import math
import time

from common.connection import RedisUnavailable
from common.duty import Backoff
from common.models import NewJob, Submitted
from common.store import Store
from gateway.canceller import Canceller
from gateway.errors import ApiError, queue_full, rate_limited, redis_unavailable
from gateway.estimator import Estimator
from gateway.watcher import Watcher

log = logging.getLogger(__name__)

_AT_A_TIME = 32
"""Submits under way: each takes a connection, and a burst should not open hundreds."""

_LARGE_BYTES = 64 * 1024
"""Larger bodies go one by one: Redis keeps as large a buffer for each connection that had one."""


class Submitter:
    """The way into the queue. A request waits `patience_s` for a Redis that is away."""

    def __init__(
        self,
        store: Store,
        canceller: Canceller,
        watcher: Watcher,
        estimator: Estimator,
        patience_s: float,
    ) -> None:
        self._store = store
        self._canceller = canceller
        self._watcher = watcher
        self._estimator = estimator
        self._patience_s = patience_s
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self._turn_of_large = asyncio.Semaphore(1)
        self._gave_up_s = -math.inf

    async def submit(self, job: NewJob) -> Submitted:
        """Raises ApiError: Redis is away. What else keeps the job out, `refusal` says."""
        asked_s = time.monotonic()
        async with self._turn_of_large if len(job.body) > _LARGE_BYTES else self._turn:
            if self._gave_up_s > asked_s:
                # Those before it have waited in its place.
                raise redis_unavailable()
            return await self._in_time(job)

    def refusal(self, job: NewJob, submitted: Submitted) -> ApiError | None:
        """What a request is told whose job was not queued."""
        if submitted.status == "full":
            retry_after_s = self._estimator.retry_after_s(job.job_class, submitted.depth)
            return queue_full(job.job_class, submitted.full, submitted.depth, retry_after_s)
        if submitted.limited:
            limit = getattr(job.limits, submitted.limited)
            return rate_limited(submitted.limited, limit, job.tokens, submitted.wait_s)
        return None

    async def once(self, job: NewJob, *, again: bool = False) -> Submitted:
        """Raises RedisUnavailable. A job that is known already stays as it is.

        `again`: Redis has lost it, and its key's limits do not count it a second time.
        """
        submitted = await self._store.submit(job, self._watcher.policy, again=again)
        if job.name and submitted.status in {"accepted", "exists"}:
            # Behind it: what was refused leaves nothing.
            await self._store.name(job)
        return submitted

    async def _in_time(self, job: NewJob) -> Submitted:
        try:
            async with asyncio.timeout(self._patience_s):
                submitted = await self._until_heard(job)
        except TimeoutError as outage:
            self._gave_up_s = time.monotonic()
            # The job may have been queued all the same, with nobody to wait for it.
            self._canceller.ask(job.id, job.job_class, "gateway lost the queue")
            raise redis_unavailable() from outage
        if submitted.status == "accepted":
            self._estimator.came(job)
        return submitted

    async def _until_heard(self, job: NewJob) -> Submitted:
        backoff = Backoff(first_s=0.02, longest_s=0.5)
        while True:
            try:
                submitted = await self.once(job)
            except RedisUnavailable as outage:
                log.info("redis away job=%s error=%s", job.id, outage)
                await asyncio.sleep(backoff.failed())
            else:
                break
        if backoff.tried:
            # Whoever is answered now may ask again at once, and is not to hear that Redis is away.
            await self._watcher.catch_up()
        return submitted
