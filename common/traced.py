"""Whether this process traces: the way to the tracing that costs nothing while it is off."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.settings import Settings
    from common.tracing import Tracing


class NoTracing(Exception):
    """Traces are wanted and their libraries are not installed."""


def start_tracing(settings: Settings, process: str, **attributes: str) -> Tracing | None:
    """The tracing of a process; None when it is off. Raises NoTracing."""
    if not settings.trace_endpoint:
        return None
    try:
        from common.tracing import Tracing  # noqa: PLC0415  # only where somebody traces
    except ImportError as error:
        raise NoTracing(
            f"trace_endpoint is set and {error.name} is missing: pip install 'adasplit[tracing]'"
        ) from error
    named = {f"adasplit.{name}": value for name, value in attributes.items()}
    return Tracing.to(
        settings.trace_endpoint,
        process,
        version("adasplit"),
        {"adasplit.pool": settings.pool, **named},
    )
