"""The span of a request at the gateway: from its arrival to the end of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.admission import TRACEPARENT

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from common.tracing import Span, Tracing

_NOTED = {
    b"x-adasplit-job": "adasplit.job",
    b"x-adasplit-class": "adasplit.class",
    b"x-adasplit-unit": "adasplit.unit",
    b"x-adasplit-attempt": "adasplit.attempt",
}
_SERVER_ERROR = 500


class Traced:
    """Traces a route; it exists only while traces are on. A client's `traceparent` is the parent.

    What the span says is what the answer's headers say: nothing of the request's content.
    """

    def __init__(self, app: ASGIApp, route: str, tracing: Tracing) -> None:
        self._app = app
        self._route = route
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = [value for name, value in scope["headers"] if name == b"traceparent"]
        parent = given[0].decode("latin-1") if len(given) == 1 else ""
        attributes = {"http.request.method": "POST", "http.route": self._route}
        span = self._tracing.span(f"POST {self._route}", parent, "server", attributes=attributes)
        scope[TRACEPARENT] = span.traceparent
        answer = _Answer(span, send)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            answer.end()


class _Answer:
    """Watches an answer go by and notes it on a span."""

    def __init__(self, span: Span, send: Send) -> None:
        self._span = span
        self._send = send
        self._begun = False
        self._complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started(message)
        elif message["type"] == "http.response.body":
            if not self._begun:
                self._begun = True
                self._span.event("first byte")
            if not message.get("more_body", False):
                self._last(message.get("body", b""))
        await self._send(message)

    def end(self) -> None:
        if not self._complete:
            self._span.failed("the answer was left incomplete")
        self._span.end()

    def _started(self, message: Message) -> None:
        noted: dict[str, Any] = {"http.response.status_code": message["status"]}
        for name, value in message["headers"]:
            if name in _NOTED:
                noted[_NOTED[name]] = value.decode("latin-1")
        self._span.put(noted)
        if message["status"] >= _SERVER_ERROR:
            self._span.failed(f"answered {message['status']}")

    def _last(self, body: bytes) -> None:
        self._complete = True
        # Inside a text the quotes would be escaped.
        if b'data: {"error":' in body:
            self._span.failed("the stream ended with an error")
