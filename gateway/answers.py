"""One job's answer on its way to the client: waits, relays, watches for the client to leave."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

from starlette.types import Receive, Send

from common.models import Budget, Outcome
from gateway.admission import Admitted
from gateway.canceller import Canceller
from gateway.checker import Checker
from gateway.errors import (
    ApiError,
    cancelled,
    deadline_exceeded,
    redis_unavailable,
    send_error,
    stopping,
    unit_failed,
)
from gateway.limits import headers_of
from gateway.mailbox import End, Head, Mailbox, Mailboxes, Shut, Sink
from gateway.metrics import Metrics
from gateway.submitter import Submitter
from gateway.tokens import TokenCounter

_LEFT = 499
_LATE = "deadline passed"
_LAST_WORD_S = 1.0
"""How long a client that does not read may hold up the error that ends its stream."""


@dataclass(frozen=True)
class Answers:
    """What all answers of a gateway share."""

    mailboxes: Mailboxes
    submitter: Submitter
    canceller: Canceller
    counter: TokenCounter
    metrics: Metrics
    checker: Checker

    async def give(
        self,
        admitted: Admitted,
        receive: Receive,
        send: Send,
        started_s: float,
        write: Sink | None = None,
    ) -> None:
        """Submit the job and answer its request, whatever becomes of it.

        `write` takes the chunks of a stream that may be sent at once, past `send`.
        """
        job = admitted.job
        self.metrics.admitted(job.job_class, job.tokens)
        box = self.mailboxes.open(job)
        answer = Answer(self, admitted, box, send, started_s, write)
        leaving = asyncio.create_task(_watch_client(receive, box))
        try:
            await answer.run()
        finally:
            leaving.cancel()
            self.mailboxes.close(job.id)
            if answer.abandoned:
                outcome: Outcome = "expired" if answer.abandoned == _LATE else "cancelled"
                self.canceller.ask(job.id, job.job_class, answer.abandoned, outcome)


class Answer:
    """The answer of one job. `abandoned`: why its job is of no use any more, while it is not."""

    def __init__(
        self,
        shared: Answers,
        admitted: Admitted,
        box: Mailbox,
        send: Send,
        started_s: float,
        write: Sink | None,
    ) -> None:
        self.abandoned = "request ended early"
        self._shared = shared
        self._job = admitted.job
        self._learnable_bytes = admitted.learnable_bytes
        self._box = box
        self._send = send
        self._started_s = started_s
        self._write = write
        self._streaming = False
        self._first_byte = False
        self._ttft_s = 0.0
        self._last_bytes = b""
        self._budget: Budget | None = None

    async def run(self) -> None:
        try:
            async with asyncio.timeout(self._job.timeout_s) as limit:
                # A submit is not interrupted: a cancel could then reach Redis before it.
                await self._submit()
                self._box.interrupt = partial(end_now, limit)
                try:
                    await self._relay()
                finally:
                    self._box.interrupt = None
        except TimeoutError:
            await self._out_of_time()
        except Shut as shut:
            await self._shut(str(shut))
        except ApiError as error:
            await self._fail(error, self.abandoned)

    async def _submit(self) -> None:
        try:
            submitted = await self._shared.submitter.submit(self._job)
            self._budget = submitted.budget
            refusal = self._shared.submitter.refusal(self._job, submitted)
            if refusal:
                raise refusal  # refused or out of reach, nothing is left behind
        except ApiError:
            self.abandoned = ""
            raise
        self._box.submitted = True

    async def _relay(self) -> None:
        box = self._box
        while not box.end and not (box.head and box.head.is_stream):
            await box.changed()
        self._check_end()
        if box.head is None:
            raise unit_failed("no answer came")
        box.begin()
        await self._start(box.head)
        while not box.end:
            box.check()
            if box.unsent_bytes:
                await self._send_body(box.take(), more=True)
            else:
                await box.changed(self._pass_on if self._write and self._first_byte else None)
        await self._finish(box.head)

    async def _start(self, head: Head) -> None:
        content_type = head.content_type.encode("latin-1", "replace")
        headers = [(b"content-type", content_type), *self._headers(head)]
        headers += self._shared.checker.started(self._job.id, self._job.job_class, head)
        if self._box.end:
            headers.append((b"content-length", str(self._box.unsent_bytes).encode()))
        elif head.is_stream:
            # Proxies on the way are to pass each token on as it comes.
            headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        self._streaming = True
        await self._send({"type": "http.response.start", "status": head.status, "headers": headers})

    async def _finish(self, head: Head) -> None:
        end = self._check_end()
        await self._send_body(self._box.take(), more=False)
        metrics = self._shared.metrics
        job_class, e2e_s = self._job.job_class, time.monotonic() - self._started_s
        metrics.answered(job_class, head.status)
        metrics.completed(job_class, e2e_s)
        if head.is_stream:
            metrics.streamed(job_class, e2e_s - self._ttft_s, end.completion_tokens)
        if head.status == 200:  # noqa: PLR2004  # HTTP's own number
            self._shared.counter.learn(self._learnable_bytes, end.prompt_tokens)

    def _check_end(self) -> End:
        """Raises ApiError when the job ended otherwise than well."""
        end = self._box.end
        if end is None:
            return End("ok", "", 0, 0)
        self.abandoned = ""
        failure = _failure(end)
        if failure:
            raise failure
        return end

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        if not self._first_byte:
            self._first_byte = True
            queue_ms = self._box.head.queue_ms if self._box.head else 0
            self._ttft_s = time.monotonic() - self._started_s
            self._shared.metrics.first_byte(self._job.job_class, self._ttft_s, queue_ms)
        if body:
            self._last_bytes = body[-2:]
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _pass_on(self, chunk: bytes) -> bool:
        taken = self._write is not None and self._write(chunk)
        if taken:
            self._last_bytes = chunk[-2:]
        return taken

    async def _out_of_time(self) -> None:
        if self._box.shut_because:
            await self._shut(self._box.shut_because)
        else:
            await self._fail(deadline_exceeded(), _LATE)

    async def _shut(self, because: str) -> None:
        self.abandoned = because
        if because == "client left":
            self._shared.metrics.answered(self._job.job_class, _LEFT)
            return
        await self._fail(_SHUT.get(because, cancelled(because)), because)

    async def _fail(self, error: ApiError, abandoned: str) -> None:
        self.abandoned = abandoned
        self._shared.metrics.failed(self._job.job_class, error)
        if not self._streaming:
            await send_error(self._send, error, self._headers(self._box.head))
            return
        rest = self._box.take()
        separator = b"" if (rest or self._last_bytes)[-2:] in (b"", b"\n\n") else b"\n\n"
        last_word = rest + separator + error.event
        try:
            async with asyncio.timeout(_LAST_WORD_S):
                await self._send({"type": "http.response.body", "body": last_word})
        except TimeoutError:
            # The server closes a connection whose answer was left incomplete.
            return

    def _headers(self, head: Head | None) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"x-adasplit-job", self._job.id.encode()),
            (b"x-adasplit-class", self._job.job_class.encode()),
        ]
        if self._job.priority:
            headers.append((b"x-adasplit-priority", str(self._job.priority).encode()))
        headers += headers_of(self._job.limits, self._budget)
        if head:
            headers += [
                (b"x-adasplit-unit", head.unit.encode("latin-1", "replace")),
                (b"x-adasplit-queue-ms", str(head.queue_ms).encode()),
                (b"x-adasplit-attempt", str(head.attempt).encode()),
            ]
        return headers


_SHUT = {
    "superseded": unit_failed("it was lost after its first byte"),
    "stopping": stopping(),
    "forgotten": redis_unavailable("The queue forgot the request."),
    "lost": redis_unavailable("The queue lost a part of the answer."),
}


def end_now(limit: asyncio.Timeout) -> None:
    """Let a time limit run out now; one that is doing so may not be moved any more."""
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time())


def _failure(end: End) -> ApiError | None:
    if end.outcome == "ok":
        return None
    if end.outcome == "expired":
        return deadline_exceeded()
    if end.outcome == "cancelled":
        return cancelled(end.reason)
    return unit_failed(end.reason)


async def _watch_client(receive: Receive, box: Mailbox) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    box.shut("client left")
