"""The spans of one attempt: its time in the queue, the attempt, and the call of the unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.models import ClaimedJob
    from common.tracing import Span, Tracing


_NOBODYS_FAULT = frozenset({"ok", "cancelled"})


class AttemptTrace:
    """Nothing, while traces are off."""

    def called(self) -> str:
        """The unit is being called; answers the `traceparent` to send along, or nothing."""
        return ""

    def answered(self, status: int) -> None:
        """The unit has said a status."""

    def first_byte(self) -> None:
        """The answer has begun."""

    def call_over(self, fault: str = "") -> None:
        """The call has ended, with this fault of the unit's."""

    def over(self, outcome: str, reason: str = "") -> None:
        """The attempt has ended; only the first word counts."""


UNTRACED = AttemptTrace()


class SpannedTrace(AttemptTrace):
    """The spans, under that of the job's request: one beside the other for each attempt."""

    def __init__(self, tracing: Tracing, job: ClaimedJob, unit: str) -> None:
        self._tracing = tracing
        self._route = job.route
        self._call: Span | None = None
        attributes: dict[str, str | int] = {
            "adasplit.job": job.id,
            "adasplit.class": job.job_class,
            "adasplit.attempt": job.attempt,
        }
        queued = tracing.span(
            "queue", job.traceparent, began_ms=job.queued_ms, attributes=attributes
        )
        queued.end(job.claimed_ms)
        attributes |= {"adasplit.unit": unit, "adasplit.why": job.why}
        self._attempt = tracing.span(
            "attempt", job.traceparent, began_ms=job.claimed_ms, attributes=attributes
        )

    def called(self) -> str:
        attributes = {"http.request.method": "POST", "url.path": self._route}
        parent = self._attempt.traceparent
        self._call = self._tracing.span("unit call", parent, "client", attributes=attributes)
        return self._call.traceparent

    def answered(self, status: int) -> None:
        if self._call:
            self._call.put({"http.response.status_code": status})

    def first_byte(self) -> None:
        if self._call:
            self._call.event("first byte")

    def call_over(self, fault: str = "") -> None:
        if self._call:
            if fault:
                self._call.failed(fault)
            self._call.end()

    def over(self, outcome: str, reason: str = "") -> None:
        self.call_over()
        self._attempt.put({"adasplit.outcome": outcome})
        if outcome not in _NOBODYS_FAULT:
            self._attempt.failed(reason or outcome)
        self._attempt.end()
