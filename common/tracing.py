"""OpenTelemetry's spans, for processes that were told where to send them; else never imported.

The only module that imports `opentelemetry`. Spans name jobs, units, classes and times: no prompt,
no answer, no key.
"""

from collections.abc import Mapping
from typing import Literal, Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Kind = Literal["server", "client", "internal"]

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_W3C = TraceContextTextMapPropagator()
_NS_IN_MS = 1_000_000
_LAST_EXPORT_S = 2.0
"""How long a collector that does not answer may hold up an export, and with it the end."""


class Span:
    """One span. `end` may be called twice; what comes after the first counts no more."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """Names this span as a parent, in W3C's form."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, set_span_in_context(self._span, Context()))
        return carrier.get("traceparent", "")

    def put(self, attributes: Mapping[str, str | int]) -> None:
        if self._span.is_recording():
            self._span.set_attributes(attributes)

    def event(self, name: str) -> None:
        if self._span.is_recording():
            self._span.add_event(name)

    def failed(self, why: str) -> None:
        if self._span.is_recording():
            self._span.set_status(Status(StatusCode.ERROR, why))

    def end(self, at_ms: int | None = None) -> None:
        if self._span.is_recording():
            self._span.end(None if at_ms is None else at_ms * _NS_IN_MS)


class Tracing:
    """Begins spans and sends them, in a thread of its own, to one collector."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("adasplit")

    @classmethod
    def to(cls, endpoint: str, process: str, version: str, attributes: Mapping[str, str]) -> Self:
        """Send to a collector's base URL. What OTEL_… variables say of all else, holds."""
        resource = Resource.create(
            {SERVICE_NAME: f"adasplit-{process}", SERVICE_VERSION: version, **attributes}
        )
        # The process ends spans in its own order: no exit handler of the library's.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        url = f"{endpoint.rstrip('/')}/v1/traces"
        exporter = OTLPSpanExporter(endpoint=url, timeout=_LAST_EXPORT_S)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    def span(
        self,
        name: str,
        parent: str = "",
        kind: Kind = "internal",
        *,
        began_ms: int | None = None,
        attributes: Mapping[str, str | int] | None = None,
    ) -> Span:
        """A span under a `traceparent`; one that says nothing valid begins a trace."""
        context = _W3C.extract({"traceparent": parent} if parent else {}, Context())
        span = self._tracer.start_span(
            name,
            context,
            _KINDS[kind],
            attributes,
            start_time=None if began_ms is None else began_ms * _NS_IN_MS,
        )
        return Span(span)

    def close(self) -> None:
        """Send what is left; blocks for some seconds at most."""
        self._provider.shutdown()
