"""The unit's answer to one attempt, from the bytes as they come to the parts that travel on."""

from collections.abc import Callable

import orjson

from common.models import Part
from dispatcher.engine_error import ERROR_BEGINS, engine_error
from dispatcher.forwarder import Forwarder
from dispatcher.health import UnitHealth
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJob
from dispatcher.watch import Watch
from dispatcher.wire import UnitFault

_TOO_MANY = 429
_SERVER_ERROR = 500
_OK = 200

_TAIL_BYTES = 4096
"""The end of a stream that is looked at for its usage and its `[DONE]`."""

_BEFORE_BYTES = 64
"""The end of the chunks before this one, in which what it goes on with may have begun."""


class Answer:
    """Receives one answer. A stream's chunks go on at once, another body when it is whole.

    Its methods raise UnitFault: the answer is no good, and what the client has of it, it keeps.
    """

    def __init__(
        self,
        running: RunningJob,
        unit: str,
        forwarder: Forwarder,
        health: UnitHealth,
        metrics: Metrics,
        watch: Watch,
        between_chunk_s: float,
        first_byte: Callable[[RunningJob], None],
    ) -> None:
        self.status = 0
        self._running = running
        self._unit = unit
        self._forwarder = forwarder
        self._health = health
        self._metrics = metrics
        self._watch = watch
        self._between_chunk_s = between_chunk_s
        self._first_byte = first_byte
        self._content_type = ""
        self._streams = False
        self._before = b""
        self._chunks: list[bytes] = []
        self._kept_bytes = 0

    # The wire tells

    def head(self, status: int, content_type: str) -> None:
        self._running.trace.answered(status)
        if status == _TOO_MANY or status >= _SERVER_ERROR:
            raise UnitFault("status", f"the unit said {status}")
        self._health.answered()
        self.status = status
        self._content_type = content_type
        self._streams = self._running.job.stream and status == _OK

    def body(self, chunk: bytes) -> None:
        if self._streams:
            self._watch.heard(self._between_chunk_s)
            before, seen = self._before, self._before + chunk
            if ERROR_BEGINS in seen:
                self._look_at_error(before, chunk)
            self._pass_on(chunk)
            self._before = seen[-_BEFORE_BYTES:]
        self._keep(chunk)

    # The caller asks, once the answer is complete

    def end(self) -> tuple[bytes, tuple[Part, ...]]:
        """What tells the usage, and the parts that have not been sent. Raises UnitFault."""
        body = b"".join(self._chunks)
        if self._streams:
            if b"data: [DONE]" not in body:
                raise UnitFault("cut short", "the stream ended without [DONE]")
            return body, ()
        job, running = self._running.job, self._running
        running.sent = True
        running.sent_bytes = len(body)
        self._metrics.first_byte(job.job_class, running.age_s)
        head = Part(job.id, job.attempt, "head", self._head())
        return body, (head, Part(job.id, job.attempt, "chunk", body, 0))

    def _look_at_error(self, before: bytes, chunk: bytes) -> None:
        failure = engine_error(before, chunk)
        if failure is not None:
            self._pass_on(chunk[: failure.place])
            raise UnitFault("engine", failure.reason)

    def _keep(self, chunk: bytes) -> None:
        """Keep all of a body, and of a stream the end."""
        self._chunks.append(chunk)
        self._kept_bytes += len(chunk)
        if self._streams and self._kept_bytes > 2 * _TAIL_BYTES:
            self._chunks = [b"".join(self._chunks)[-_TAIL_BYTES:]]
            self._kept_bytes = _TAIL_BYTES

    def _pass_on(self, chunk: bytes) -> None:
        running = self._running
        # A byte may come between an abort and its end: what is handed back then has sent nothing.
        if not chunk or running.abort_reason:
            return
        job = running.job
        if not running.sent:
            running.sent = True
            self._metrics.first_byte(job.job_class, running.age_s)
            running.trace.first_byte()
            self._forwarder.put(job, "head", self._head())
            self._first_byte(running)
        self._forwarder.put(job, "chunk", chunk, running.sent_bytes)
        running.sent_bytes += len(chunk)

    def _head(self) -> bytes:
        job = self._running.job
        return orjson.dumps(
            {
                "status": self.status,
                "content_type": self._content_type,
                "unit": self._unit,
                "queue_ms": job.queue_ms,
                "attempt": job.attempt,
            }
        )
