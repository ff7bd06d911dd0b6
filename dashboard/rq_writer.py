"""Brings RQ's keys in line with a picture, through RQ's own classes, in one transaction.

Only what has changed is written. Nobody else writes there: presses are caught before they reach RQ.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rq import Queue, Worker
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.registry import (
    BaseRegistry,
    CanceledJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
)
from rq.results import Result
from rq.worker import WorkerStatus
from rq.worker_registration import register, unregister

from common.keys import CLASSES, JobClass, other_class
from common.models import UnitView
from dashboard.picture import Picture, Place, Shown

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

_TTL_S = 7 * 24 * 3600
"""Longer than any dashboard shows a job without writing it anew."""

_STATUS = {
    "queued": JobStatus.QUEUED,
    "started": JobStatus.STARTED,
    "finished": JobStatus.FINISHED,
    "failed": JobStatus.FAILED,
    "canceled": JobStatus.CANCELED,
}
_REGISTRIES: dict[Place, type[BaseRegistry]] = {
    "finished": FinishedJobRegistry,
    "failed": FailedJobRegistry,
    "canceled": CanceledJobRegistry,
}


class RqWriter:
    """What stands in RQ's keys, and how to bring it up to date; a call blocks for milliseconds."""

    def __init__(self, connection: "Redis") -> None:
        self._connection = connection
        self._queues = {name: Queue(name, connection=connection) for name in CLASSES}
        self._drawn = Picture({}, ())
        self._queued: dict[JobClass, list[str]] = {name: [] for name in CLASSES}
        self._executions: dict[str, Execution] = {}
        self._births: dict[str, datetime] = {}

    def write(self, picture: Picture) -> None:
        drawn, jobs = self._drawn.jobs, picture.jobs
        with self._connection.pipeline(transaction=True) as pipeline:
            for queue in self._queues.values():
                pipeline.sadd(Queue.redis_queues_keys, queue.key)
            for job in drawn.values():
                if jobs.get(job.id) != job:
                    self._take_out(job, pipeline, gone=job.id not in jobs)
            for job in jobs.values():
                if drawn.get(job.id) != job:
                    self._put_in(job, pipeline)
            for name in CLASSES:
                self._line_up(name, picture.queue(name), pipeline)
            self._show_units(picture.units, pipeline)
            pipeline.execute()
        self._drawn = picture

    def _take_out(self, shown: Shown, pipeline: "Pipeline", *, gone: bool) -> None:
        execution = self._executions.pop(shown.id, None)
        if execution:
            execution.delete(self._job(shown), pipeline)
        # A registry without jobs counts as false.
        if (registry := self._registry(shown)) is not None:
            registry.remove(shown.id, pipeline)
        pipeline.delete(Result.get_key(shown.id))  # type: ignore[no-untyped-call]  # RQ's
        if gone:
            pipeline.delete(Job.key_for(shown.id))

    def _put_in(self, shown: Shown, pipeline: "Pipeline") -> None:
        job = self._job(shown)
        job.save(pipeline)
        if shown.place == "started":
            self._executions[shown.id] = Execution.create(job, _TTL_S, pipeline, shown.unit)
        elif (registry := self._registry(shown)) is not None:
            # What ended last has the highest score.
            age_s = (datetime.now(UTC) - (job.ended_at or datetime.now(UTC))).total_seconds()
            pipeline.zadd(registry.key, {job.id: datetime.now(UTC).timestamp() + _TTL_S - age_s})
            self._tell_result(shown, job, pipeline)

    def _tell_result(self, shown: Shown, job: Job, pipeline: "Pipeline") -> None:
        if shown.place == "finished":
            value = {"status": shown.status, "completion_tokens": shown.completion_tokens}
            kind = Result.Type.SUCCESSFUL
            Result.create(
                job, kind, _TTL_S, return_value=value, worker_name=shown.unit, pipeline=pipeline
            )
        else:
            Result.create_failure(job, _TTL_S, shown.reason, shown.unit, pipeline=pipeline)

    def _registry(self, shown: Shown) -> BaseRegistry | None:
        kind = _REGISTRIES.get(shown.place)
        return kind(shown.job_class, connection=self._connection) if kind else None

    def _job(self, shown: Shown) -> Job:
        facts: dict[str, Any] = {"prompt_tokens": shown.tokens, "attempt": shown.attempt}
        job = Job.create(
            func=f"adasplit.{shown.job_class}",
            kwargs=facts,
            connection=self._connection,
            status=_STATUS[shown.place],
            id=shown.id,
            origin=shown.job_class,
            description=_describe(shown),
            meta=facts | ({"unit": shown.unit} if shown.unit else {}),
        )
        job.created_at = _moment(shown.submitted_ms) or datetime.now(UTC)
        job.enqueued_at = _moment(shown.submitted_ms)
        job.started_at, job.ended_at = _moment(shown.claimed_ms), _moment(shown.finished_ms)
        job.worker_name = shown.unit or None
        return job

    def _line_up(self, name: JobClass, wanted: list[str], pipeline: "Pipeline") -> None:
        """Mostly jobs leave at the front and join at the end; anything else is written anew."""
        queue, stands = self._queues[name], self._queued[name]
        staying = set(wanted)
        left = [job for job in stands if job in staying]
        if wanted[: len(left)] == left:
            for job in stands:
                if job not in staying:
                    queue.remove(job, pipeline)
            joining = wanted[len(left) :]
        else:
            pipeline.delete(queue.key)
            joining = wanted
        for job in joining:
            queue.push_job_id(job, pipeline)
        self._queued[name] = wanted

    def _show_units(self, units: Iterable[UnitView], pipeline: "Pipeline") -> None:
        alive = {unit.name: unit for unit in units}
        for name in self._births.keys() - alive.keys():
            unregister(self._worker(name, "short"), pipeline)
            pipeline.delete(self._worker(name, "short").key)
            del self._births[name]
        for unit in alive.values():
            worker = self._worker(unit.name, unit.role)
            pipeline.hset(worker.key, mapping=_fields(worker, unit.url))
            worker.set_state(_state(unit), pipeline)
            register(worker, pipeline)

    def _worker(self, name: str, role: JobClass) -> Worker:
        """RQ's worker of a unit: it takes the queue of its role first."""
        queues = [self._queues[role], self._queues[other_class(role)]]
        worker = Worker(queues, name, connection=self._connection, prepare_for_work=False)
        worker.birth_date = self._births.setdefault(name, datetime.now(UTC))
        worker.last_heartbeat = datetime.now(UTC)
        return worker


def _fields(worker: Worker, url: str) -> Any:
    known = worker.serialize() | {"hostname": url, "version": "", "python_version": ""}
    return {name: value for name, value in known.items() if value is not None}


def _state(unit: UnitView) -> WorkerStatus:
    if unit.draining:
        return WorkerStatus.SUSPENDED
    return WorkerStatus.BUSY if unit.in_flight else WorkerStatus.IDLE


def _describe(shown: Shown) -> str:
    told = [f"{shown.job_class} job, {shown.tokens} prompt tokens"]
    if shown.attempt:
        told.append(f"attempt {shown.attempt}")
    if shown.unit:
        told.append(f"on {shown.unit}")
    return ", ".join(told)


def _moment(at_ms: int | None) -> datetime | None:
    return datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms else None
