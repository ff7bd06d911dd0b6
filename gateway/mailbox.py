"""What waiting requests receive: one mailbox each, and the box of all of them."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from common.models import NewJob, Outcome, Part


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins."""

    status: int
    content_type: str
    unit: str
    queue_ms: int
    attempt: int

    @property
    def is_stream(self) -> bool:
        return self.content_type.startswith("text/event-stream")


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt, and with it the job, ended."""

    outcome: Outcome
    reason: str
    prompt_tokens: int
    completion_tokens: int


Sink = Callable[[bytes], bool]
"""Takes bytes at once, or answers that it does not."""


class Shut(Exception):
    """Nothing more comes out of a mailbox; the message is why."""


class Mailbox:
    """Holds the parts of one job's answer until its client takes them.

    Only one attempt's parts are ever in it. A newer attempt replaces what was not begun; once the
    answer has begun, it shuts the box instead: bytes of two attempts never mix. Parts say where in
    the answer they belong: what came before is dropped, a gap shuts the box.
    """

    __slots__ = (
        "_attempt", "_begun", "_chunks", "_head", "_limit_bytes", "_received_bytes", "_sink",
        "_waiter", "end", "head", "interrupt", "job", "shut_because", "submitted", "unsent_bytes",
        "unsent_since_s",
    )  # fmt: skip

    def __init__(self, job: NewJob, limit_bytes: int) -> None:
        self.job = job
        self.submitted = False
        self.head: Head | None = None
        self.end: End | None = None
        self.shut_because = ""
        self.unsent_bytes = 0
        self.unsent_since_s = math.inf
        self.interrupt: Callable[[], None] | None = None
        self._limit_bytes = limit_bytes
        self._chunks: list[bytes] = []
        self._attempt = 0
        self._head = b""
        self._received_bytes = 0
        self._begun = False
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Sink | None = None

    def deliver(self, part: Part) -> None:
        if part.attempt < self._attempt or self.end or self.shut_because:
            return
        if part.attempt > self._attempt or self._is_other_head(part):
            if self._begun:
                self.shut("superseded")
                return
            self._start_over(part.attempt)
        if part.kind == "chunk":
            if self._add(part):
                return
        elif part.kind == "head":
            self._head = part.content
            self.head = _head(part.content)
        elif part.offset is not None and part.offset != self._received_bytes:
            self.shut("lost")
        else:
            self.end = _end(part.content)
        self._wake()

    def _is_other_head(self, part: Part) -> bool:
        # A Redis that forgot a claim counts attempts again from an older number. One that forgot a
        # relay is told the same once more.
        return part.kind == "head" and self._head not in {b"", part.content}

    @property
    def begun(self) -> bool:
        return self._begun

    def begin(self) -> None:
        """From now on the answer is the current attempt's, or broken."""
        self._begun = True

    def take(self) -> bytes:
        """The bytes that have come since the last time."""
        chunks, self._chunks = self._chunks, []
        self.unsent_bytes = 0
        self.unsent_since_s = math.inf
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def changed(self, sink: Sink | None = None) -> None:
        """Wait until something comes that `sink` does not take. Raises Shut.

        What it takes wakes nobody: of a streamed token this is nearly all that there is to do.
        """
        if not self.shut_because:
            self._waiter = asyncio.get_running_loop().create_future()
            self._sink = sink
            await self._waiter
        self.check()

    def check(self) -> None:
        """Raises Shut."""
        if self.shut_because:
            raise Shut(self.shut_because)

    def shut(self, because: str) -> None:
        """Also ends a send that a client who does not read holds up."""
        if self.shut_because:
            return
        self.shut_because = because
        if not self._wake() and self.interrupt:
            self.interrupt()

    def _add(self, part: Part) -> bool:
        """Take a part; answers whether it is with the client already."""
        offset = self._received_bytes if part.offset is None else part.offset
        if self.head is None or offset > self._received_bytes:
            self.shut("lost")
            return False
        content = part.content[self._received_bytes - offset :]
        self._received_bytes += len(content)
        # Of what was told again nothing may be left: a client does not have to take that.
        if not content or (self._sink and self._sink(content)):
            return True
        if not self._chunks:
            self.unsent_since_s = time.monotonic()
        self._chunks.append(content)
        self.unsent_bytes += len(content)
        if self.unsent_bytes > self._limit_bytes:
            self._chunks.clear()
            self.shut("client too slow")
        return False

    def _start_over(self, attempt: int) -> None:
        self._attempt = attempt
        self._head = b""
        self._received_bytes = 0
        self.head = None
        self._chunks.clear()
        self.unsent_bytes = 0

    def _wake(self) -> bool:
        """Wake who waits; what comes from now on waits for them. Answers whether anybody did."""
        self._sink = None
        if self._waiter is None or self._waiter.done():
            return False
        self._waiter.set_result(None)
        return True


class Mailboxes:
    """The open mailboxes of a gateway, by job."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._open: dict[str, Mailbox] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Mailbox]:
        return iter(tuple(self._open.values()))

    def __contains__(self, job: str) -> bool:
        return job in self._open

    def open(self, job: NewJob) -> Mailbox:
        box = self._open[job.id] = Mailbox(job, self._limit_bytes)
        return box

    def close(self, job: str) -> None:
        self._open.pop(job, None)

    def deliver(self, part: Part) -> None:
        """Parts of jobs that nobody waits for any more are dropped."""
        box = self._open.get(part.job)
        if box:
            box.deliver(part)

    def shut_stalled(self, longest_s: float) -> None:
        """Give up on clients that have taken nothing for so long while bytes wait for them."""
        oldest_s = time.monotonic() - longest_s
        for box in self:
            if box.begun and box.unsent_since_s < oldest_s:
                box.shut("client too slow")

    def shut_all(self, because: str) -> None:
        for box in self:
            box.shut(because)


def _head(content: bytes) -> Head:
    fields: dict[str, Any] = orjson.loads(content)
    return Head(
        status=int(fields["status"]),
        content_type=str(fields.get("content_type") or "application/json"),
        unit=str(fields.get("unit", "")),
        queue_ms=int(fields.get("queue_ms", 0)),
        attempt=int(fields.get("attempt", 0)),
    )


def _end(content: bytes) -> End:
    fields: dict[str, Any] = orjson.loads(content)
    return End(
        outcome=fields["outcome"],
        reason=str(fields.get("reason", "")),
        prompt_tokens=int(fields.get("prompt_tokens") or 0),
        completion_tokens=int(fields.get("completion_tokens") or 0),
    )
