"""The jobs that this dispatcher runs now, each with the task that calls the unit for it."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from common.models import ClaimedJob

AbortReason = Literal["cancelled", "superseded", "gateway gone", "drained"]


@dataclass
class RunningJob:
    """One attempt. `sent` says that bytes of it went towards the client."""

    job: ClaimedJob
    task: asyncio.Task[None] | None = None
    started: bool = False
    sent: bool = False
    abort_reason: AbortReason | None = None

    def abort(self, reason: AbortReason) -> None:
        """Stop the call at the unit; the first reason counts."""
        if self.abort_reason is not None:
            return
        self.abort_reason = reason
        # A task that is cancelled before its first step never runs, and would not clean up.
        if self.started and self.task is not None:
            self.task.cancel()


class RunningJobs:
    """All attempts in the hands of this dispatcher, by job."""

    def __init__(self) -> None:
        self._jobs: dict[str, RunningJob] = {}
        self.empty = asyncio.Event()
        self.empty.set()

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: str) -> bool:
        return job in self._jobs

    def add(self, job: ClaimedJob) -> RunningJob:
        running = RunningJob(job)
        self._jobs[job.id] = running
        self.empty.clear()
        return running

    def remove(self, running: RunningJob) -> None:
        # A newer attempt of the same job may have taken the place.
        if self._jobs.get(running.job.id) is running:
            del self._jobs[running.job.id]
        if not self._jobs:
            self.empty.set()

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

    def held(self) -> list[tuple[str, int]]:
        return [(running.job.id, running.job.attempt) for running in self._jobs.values()]
