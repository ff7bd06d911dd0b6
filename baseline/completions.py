"""One request from the door to the end of its answer, or to its client's leaving."""

import asyncio
import secrets
import time
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any

from starlette.types import Receive, Scope, Send

from baseline.errors import Refused
from baseline.metrics import Metrics
from baseline.pool import Job
from baseline.queues import QueueFull
from baseline.relay import Headers, Units, send_refusal
from baseline.requests import Asked, read_request
from baseline.settings import BaselineSettings
from baseline.turns import Turns

_CLASS_HEADER = b"x-adasplit-class"
_LEFT = 499
"""nginx's status for a request that its own client gave up."""


class ClientLeft(Exception):
    """The client was gone before its request was complete."""


class Completions:
    """The ASGI application of both routes that make a unit work."""

    def __init__(
        self, settings: BaselineSettings, turns: Turns, units: Units, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._turns = turns
        self._units = units
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._read_body(receive)
            asked = self._asked(scope, body)
        except ClientLeft:
            return
        except Refused as refusal:
            await send_refusal(send, refusal, [])
            self._metrics.answered("unknown", refusal.status)
            return
        answering = asyncio.create_task(self._answer(scope["path"], body, asked, send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Ends the call at the unit, or the wait for one, when the client was first to go.
            left = answering.cancel()
            leaving.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)
        if left:
            self._metrics.answered(asked.job_class, _LEFT)
        else:
            answering.result()

    async def _answer(self, path: str, body: bytes, asked: Asked, send: Send) -> None:
        job = Job(f"job-{secrets.token_hex(16)}", asked.job_class, time.monotonic())
        headers = _headers(job)
        started = Started(send)
        try:
            async with (
                asyncio.timeout(self._settings.request_timeout_s),
                self._turns.of(job) as unit,
            ):
                headers += _placed(job, unit)
                status = await self._units.relay(unit, path, body, headers, started)
        except (Refused, QueueFull, TimeoutError) as error:
            refusal = _refusal(error)
            status = refusal.status
            # What has begun cannot be refused; the server closes a connection left incomplete.
            if not started.begun:
                await send_refusal(send, refusal, headers)
        self._metrics.answered(asked.job_class, status)

    def _asked(self, scope: Scope, body: bytes) -> Asked:
        said = dict(scope["headers"]).get(_CLASS_HEADER)
        return read_request(
            body,
            None if said is None else said.decode("latin-1"),
            bytes_per_token=self._settings.bytes_per_token,
            long_threshold_tokens=self._settings.long_threshold_tokens,
        )

    async def _read_body(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size_bytes, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            chunks.append(message.get("body", b""))
            size_bytes += len(chunks[-1])
            if size_bytes > self._settings.max_body_bytes:
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too long.")
            more = message.get("more_body", False)
        return b"".join(chunks)


class Started:
    """A `send` that remembers whether the answer has begun."""

    def __init__(self, send: Send) -> None:
        self.begun = False
        self._send = send

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        self.begun = True
        await self._send(message)


def _refusal(error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, QueueFull):
        return Refused(HTTPStatus.TOO_MANY_REQUESTS, f"The queue is full: {error}.", "queue_full")
    message = "The request's deadline passed before its answer was complete."
    return Refused(HTTPStatus.GATEWAY_TIMEOUT, message, "deadline_exceeded")


def _headers(job: Job) -> Headers:
    return [(b"x-adasplit-job", job.id.encode()), (_CLASS_HEADER, job.job_class.encode())]


def _placed(job: Job, unit: str) -> Headers:
    queue_ms = round((time.monotonic() - job.submitted_s) * 1000)
    return [
        (b"x-adasplit-unit", unit.encode("latin-1", "replace")),
        (b"x-adasplit-queue-ms", str(queue_ms).encode()),
        (b"x-adasplit-attempt", b"1"),
    ]


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
