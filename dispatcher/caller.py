"""The caller: one attempt of one job at the unit, from the request to the outcome."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal

import orjson

from common.connection import RedisUnavailable
from common.duty import Backoff
from common.models import ClaimedJob, Finish, Lease, Outcome, Part
from common.store import Store
from dispatcher.answer import Answer
from dispatcher.forwarder import Forwarder
from dispatcher.health import UnitHealth
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJob, RunningJobs
from dispatcher.settings import DispatcherSettings
from dispatcher.traces import SpannedTrace
from dispatcher.unit_client import UnitClient, usage
from dispatcher.watch import DeadlinePassed, Watch
from dispatcher.wire import UnitFault

if TYPE_CHECKING:
    from common.tracing import Tracing

log = logging.getLogger(__name__)

Cause = Literal["unit failed", "drained", "revoked"]
"""Why a job goes back; only a unit that failed makes it count as an attempt."""


class Caller:
    """Runs attempts. Whatever happens, an attempt ends in one finish, one requeue, or superseded.

    `spawn` starts a task and keeps it: the service puts its TaskGroup there, so that a mistake in
    an attempt ends the process. `first_byte` hears of each streamed answer that begins, `answered`
    of each answer that ends well, with its tokens as the unit says them and its last bytes.
    """

    def __init__(
        self,
        client: UnitClient,
        store: Store,
        forwarder: Forwarder,
        running: RunningJobs,
        health: UnitHealth,
        metrics: Metrics,
        settings: DispatcherSettings,
        tracing: "Tracing | None" = None,
    ) -> None:
        self.spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] = asyncio.create_task
        self.first_byte: Callable[[RunningJob], None] = lambda _: None
        self.answered: Callable[[RunningJob, int, bytes], None] = lambda *_: None
        self._client = client
        self._store = store
        self._forwarder = forwarder
        self._running = running
        self._health = health
        self._metrics = metrics
        self._settings = settings
        self._tracing = tracing

    def start(self, job: ClaimedJob) -> RunningJob:
        """Run an attempt in a task of its own, which the running jobs keep."""
        if job.id in self._running:
            self._forwarder.drop(job)
        running = self._running.add(job)
        if self._tracing and job.traceparent:
            running.trace = SpannedTrace(self._tracing, job, self._settings.unit)
        running.task = self.spawn(self._attempt(running))
        self._metrics.claimed(job.job_class, job.why, job.queue_ms / 1000)
        return running

    async def _attempt(self, running: RunningJob) -> None:
        try:
            if running.abort_reason is None:
                await self._until_outcome(running)
            else:
                await self._aborted(running)
        finally:
            # What ended stays until Redis has heard of it: then the forwarder removes it.
            if not running.ended:
                self._running.remove(running)

    async def _until_outcome(self, running: RunningJob) -> None:
        try:
            await self._call(running)
        except DeadlinePassed:
            self._finish(running, "expired", reason="deadline passed while running")
        except UnitFault as fault:
            await self._failed(running, fault)
        except asyncio.CancelledError:
            if running.abort_reason is None:
                raise
            await self._aborted(running)

    async def _call(self, running: RunningJob) -> None:
        running.calling = True
        try:
            await self._answered(running)
        except UnitFault as fault:
            running.trace.call_over(fault.kind)
            raise
        finally:
            running.calling = False
            running.trace.call_over()

    async def _answered(self, running: RunningJob) -> None:
        job, settings = running.job, self._settings
        watch = self._watch(job)
        answer = Answer(
            running,
            settings.unit,
            self._forwarder,
            self._health,
            self._metrics,
            watch,
            settings.between_chunk_timeout_s,
            self.first_byte,
        )
        await self._client.post(job, answer, watch, running.trace.called())
        tail, parts = answer.end()
        self._finish(running, "ok", status=answer.status, tail=tail, parts=parts)

    def _watch(self, job: ClaimedJob) -> Watch:
        timeout_s = (job.deadline_ms - job.claimed_ms) / 1000
        first_byte_s = self._settings.first_byte_timeout_s
        if job.stream:
            return Watch(timeout_s, first_byte_s)
        # The first byte of an answer that is not streamed comes when all is done: it may take long,
        # unless /health is silent as well.
        whole_s = self._settings.whole_answer_timeout_s
        return Watch(timeout_s, whole_s, self._health, first_byte_s)

    async def _failed(self, running: RunningJob, fault: UnitFault) -> None:
        self._metrics.fault(fault.kind)
        log.warning("unit failed job=%s fault=%s error=%s", running.job.id, fault.kind, fault)
        # A stream that breaks off speaks against its job, one without a byte against the unit.
        if fault.kind != "cut short" or not running.sent:
            self._health.failed(str(fault))
        if running.sent:
            self._finish(running, "failed", reason=str(fault))
        else:
            await self._give_back(running, str(fault), "unit failed")

    async def _aborted(self, running: RunningJob) -> None:
        reason = running.abort_reason
        self._metrics.aborted(str(reason))
        if reason in {"cancelled", "gateway gone"}:
            self._finish(running, "cancelled", reason=str(reason))
        elif reason == "drained" and running.sent:
            self._finish(running, "failed", reason="the dispatcher stopped")
        elif reason == "drained":
            await self._give_back(running, "the dispatcher stopped", "drained")
        elif reason == "revoked":
            await self._give_back(running, "short jobs needed its unit", "revoked")
        else:
            running.trace.over("superseded")
            # Others freed its slot: no finish of this unit asks what waits for it.
            self._forwarder.ask_claim()

    async def _give_back(self, running: RunningJob, reason: str, cause: Cause) -> None:
        """Requeue an attempt that has sent nothing; asks until Redis answers."""
        job = running.job
        lease = Lease(job.id, job.attempt, job.job_class)
        backoff = Backoff()
        while True:
            try:
                status = await self._store.requeue(
                    *(self._settings.unit, lease, job.gateway, reason),
                    spared=cause == "drained",
                    revoked=cause == "revoked",
                )
            except RedisUnavailable:
                await asyncio.sleep(backoff.failed())
            else:
                break
        self._metrics.gave_back(job.job_class, status, cause)
        running.trace.over("requeued" if status == "OK" else status.lower(), reason)
        self._forwarder.ask_claim()

    def _finish(
        self,
        running: RunningJob,
        outcome: Outcome,
        *,
        status: int = 0,
        reason: str = "",
        tail: bytes = b"",
        parts: tuple[Part, ...] = (),
    ) -> None:
        if running.ended:
            return
        running.ended = True
        running.trace.over(outcome, reason)
        job = running.job
        prompt_tokens, completion_tokens = usage(tail)
        if outcome == "ok":
            age_s = running.age_s
            self._metrics.answered(job.job_class, age_s, prompt_tokens, completion_tokens)
            self.answered(running, completion_tokens, tail)
        end = {
            "outcome": outcome,
            "reason": reason,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
        }
        last = Part(job.id, job.attempt, "end", orjson.dumps(end), running.sent_bytes)
        self._forwarder.finish(
            Finish(
                job=job.id,
                attempt=job.attempt,
                job_class=job.job_class,
                gateway=job.gateway,
                outcome=outcome,
                status=status,
                reason=reason,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                parts=(*parts, last),
            )
        )
