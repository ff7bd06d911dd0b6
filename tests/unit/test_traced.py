"""Tracing is off unless a collector is named, and says what it lacks."""

import sys

import pytest
from pydantic import ValidationError

from common.settings import Settings
from common.traced import NoTracing, start_tracing

NEEDED = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def settings(endpoint: str) -> Settings:
    return Settings(_env_file=None, trace_endpoint=endpoint)


def test_nobody_traces_who_was_not_told_where_to() -> None:
    assert start_tracing(settings(""), "gateway") is None


def test_who_is_told_to_and_lacks_the_libraries_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "common.tracing", raising=False)
    monkeypatch.setitem(sys.modules, NEEDED, None)
    with pytest.raises(NoTracing, match=r"opentelemetry.* is missing: pip install"):
        start_tracing(settings("http://127.0.0.1:4318"), "gateway")


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://collector:4317", "http://"])
def test_what_is_no_url_of_http_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError):
        settings(endpoint)
