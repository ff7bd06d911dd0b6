"""Submits a job, and says what it means for the request when that fails."""

import asyncio

from common.connection import RedisUnavailable
from common.models import NewJob, Submitted
from common.store import Store
from gateway.canceller import Canceller
from gateway.errors import queue_full, redis_unavailable
from gateway.heartbeater import Heartbeater
from gateway.watcher import Watcher

_AT_A_TIME = 32
"""Submits under way: each takes a connection, and a burst should not open hundreds."""

_RETRY_AFTER_S = 0.02


class Submitter:
    """The way into the queue."""

    def __init__(
        self, store: Store, heartbeater: Heartbeater, canceller: Canceller, watcher: Watcher
    ) -> None:
        self._store = store
        self._heartbeater = heartbeater
        self._canceller = canceller
        self._watcher = watcher
        self._turn = asyncio.Semaphore(_AT_A_TIME)

    async def submit(self, job: NewJob) -> None:
        """Raises ApiError: the queue is full, or Redis is away."""
        submitted = await self._submitted(job)
        if submitted.status == "full":
            retry_after_s = self._watcher.retry_after_s(job.job_class, submitted.depth)
            raise queue_full(job.job_class, submitted.depth, retry_after_s)

    async def _submitted(self, job: NewJob) -> Submitted:
        async with self._turn:
            try:
                return await self.once(job)
            except RedisUnavailable:
                self._heartbeater.doubt()
                await asyncio.sleep(_RETRY_AFTER_S)
            try:
                return await self.once(job)
            except RedisUnavailable as outage:
                # The job may have been queued all the same, with nobody to wait for it.
                self._canceller.ask(job.id, job.job_class, "gateway lost the queue")
                raise redis_unavailable() from outage

    async def once(self, job: NewJob) -> Submitted:
        """Raises RedisUnavailable. A job that is known already stays as it is."""
        await self._heartbeater.ensure()
        return await self._store.submit(job, self._watcher.policy)
