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
from gateway.errors import queue_full, redis_unavailable
from gateway.watcher import Watcher

log = logging.getLogger(__name__)

_AT_A_TIME = 32
"""Submits under way: each takes a connection, and a burst should not open hundreds."""


class Submitter:
    """The way into the queue. A request waits `patience_s` for a Redis that is away."""

    def __init__(
        self, store: Store, canceller: Canceller, watcher: Watcher, patience_s: float
    ) -> None:
        self._store = store
        self._canceller = canceller
        self._watcher = watcher
        self._patience_s = patience_s
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self._gave_up_s = -math.inf

    async def submit(self, job: NewJob) -> None:
        """Raises ApiError: the queue is full, or Redis is away."""
        asked_s = time.monotonic()
        async with self._turn:
            if self._gave_up_s > asked_s:
                # Those before it have waited in its place.
                raise redis_unavailable()
            submitted = await self._in_time(job)
        if submitted.status == "full":
            retry_after_s = self._watcher.retry_after_s(job.job_class, submitted.depth)
            raise queue_full(job.job_class, submitted.full, submitted.depth, retry_after_s)

    async def once(self, job: NewJob) -> Submitted:
        """Raises RedisUnavailable. A job that is known already stays as it is."""
        return await self._store.submit(job, self._watcher.policy)

    async def _in_time(self, job: NewJob) -> Submitted:
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._until_heard(job)
        except TimeoutError as outage:
            self._gave_up_s = time.monotonic()
            # The job may have been queued all the same, with nobody to wait for it.
            self._canceller.ask(job.id, job.job_class, "gateway lost the queue")
            raise redis_unavailable() from outage

    async def _until_heard(self, job: NewJob) -> Submitted:
        backoff = Backoff(first_s=0.02, longest_s=0.5)
        while True:
            try:
                return await self.once(job)
            except RedisUnavailable as outage:
                log.info("redis away job=%s error=%s", job.id, outage)
                await asyncio.sleep(backoff.failed())
