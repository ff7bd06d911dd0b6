"""The jobs that this dispatcher runs now, each with the task that calls the unit for it."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from common.keys import JobClass
from common.models import ClaimedJob
from dispatcher.traces import UNTRACED, AttemptTrace

AbortReason = Literal["cancelled", "superseded", "gateway gone", "drained", "revoked"]

_EARLY_CANCELS_KEPT = 1024


@dataclass
class RunningJob:
    """One attempt.

    `calling`: the unit is being called; `sent`: it went towards the client, `sent_bytes` of its
    body; `ended`: its outcome is on the way to Redis. `prefilled` is there for whoever waits for
    the end of its prefill: the first byte, or the end of the attempt.
    """

    job: ClaimedJob
    task: asyncio.Task[None] | None = None
    calling: bool = False
    sent: bool = False
    sent_bytes: int = 0
    ended: bool = False
    abort_reason: AbortReason | None = None
    started_s: float = field(default_factory=time.monotonic)
    trace: AttemptTrace = UNTRACED
    prefilled: asyncio.Event | None = None

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.started_s

    @property
    def calls(self) -> bool:
        """Whether it still has to do with the unit."""
        return not self.ended and self.task is not None and not self.task.done()

    @property
    def streams(self) -> bool:
        """Whether a streamed answer of it is on its way to the client."""
        return self.sent and self.job.stream and not self.ended

    def abort(self, reason: AbortReason) -> None:
        """Stop the call at the unit; the first reason counts."""
        if self.abort_reason is not None or self.ended:
            return
        self.abort_reason = reason
        if self.prefilled:
            self.prefilled.set()
        # Only the call is interrupted: before its first step a cancelled task would never run, and
        # after the call it tells Redis how it ended.
        if self.calling and self.task is not None:
            self.task.cancel()


class RunningJobs:
    """All attempts in the hands of this dispatcher, by job, until Redis heard how they ended."""

    def __init__(self) -> None:
        self._jobs: dict[str, RunningJob] = {}
        self._early_cancels: deque[tuple[str, int]] = deque(maxlen=_EARLY_CANCELS_KEPT)
        self.empty = asyncio.Event()
        self.empty.set()

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: str) -> bool:
        return job in self._jobs

    def count(self, job_class: JobClass) -> int:
        return sum(running.job.job_class == job_class for running in self._jobs.values())

    def streams(self) -> int:
        """How many streamed answers are on their way to clients."""
        return sum(running.streams for running in self._jobs.values())

    def get(self, job: str) -> RunningJob | None:
        return self._jobs.get(job)

    def all(self) -> list[RunningJob]:
        return list(self._jobs.values())

    def add(self, job: ClaimedJob) -> RunningJob:
        running = RunningJob(job)
        self.abort(job.id, "superseded")
        if (job.id, job.attempt) in self._early_cancels:
            running.abort("cancelled")
        self._jobs[job.id] = running
        self.empty.clear()
        return running

    def remove(self, running: RunningJob) -> None:
        # A newer attempt of the same job may have taken the place.
        if self._jobs.get(running.job.id) is running:
            del self._jobs[running.job.id]
        if not self._jobs:
            self.empty.set()

    def settle(self, job: str, attempt: int) -> None:
        """Redis has heard of an attempt's outcome."""
        running = self._jobs.get(job)
        if running and running.job.attempt == attempt:
            self.remove(running)

    def cancel(self, job: str, attempt: int) -> None:
        """Abort an attempt that nobody waits for, also when its claim's reply is still coming."""
        running = self._jobs.get(job)
        if running and running.job.attempt == attempt:
            running.abort("cancelled")
        else:
            self._early_cancels.append((job, attempt))

    def revoke(self, job: str, attempt: int) -> None:
        """Hand back an attempt whose unit others need, unless it has sent something."""
        running = self._jobs.get(job)
        if running and running.job.attempt == attempt and not running.sent:
            running.abort("revoked")

    def abort(self, job: str, reason: AbortReason, attempt: int | None = None) -> None:
        running = self._jobs.get(job)
        if running and attempt in {None, running.job.attempt}:
            running.abort(reason)

    def abort_all(self, reason: AbortReason, gateway: str | None = None) -> None:
        for running in list(self._jobs.values()):
            if gateway in {None, running.job.gateway}:
                running.abort(reason)

    def cancel_all(self) -> None:
        """End every task, whatever it is at."""
        for running in list(self._jobs.values()):
            if running.task is not None:
                running.task.cancel()

    def gateways(self) -> set[str]:
        return {running.job.gateway for running in self._jobs.values()}

    def held(self) -> list[tuple[str, int]]:
        return [(running.job.id, running.job.attempt) for running in self._jobs.values()]
