"""The OpenAPI page: every route, with its errors and headers, and the bounds that settings give."""

from typing import Any

from common.keys import CLASSES
from gateway.classify import CLASS_HEADER, NAME, NAME_HEADER, TIMEOUT_HEADER
from gateway.schemas import Schema, ref, schemas
from gateway.settings import GatewaySettings
from gateway.shares import PRIORITY_HEADER

_ERRORS = {
    "400": "Malformed, or beyond a bound; `param` names the field.",
    "401": "No API key, or nobody's: `invalid_api_key`.",
    "403": "Without API keys, asked under a foreign name: `host_not_allowed`.",
    "404": "`model_not_found` or `job_not_found`.",
    "405": "Another method is meant.",
    "408": "The request was not complete in time: `request_timeout`.",
    "413": "The body is too long: `request_too_large`.",
    "415": "The body is not plain JSON, or does not say so: `unsupported_media_type`.",
    "422": "A unit's refusal.",
    "429": "`queue_full`, or `rate_limit_exceeded` by the key; see `Retry-After`.",
    "431": "The headers are too long: `headers_too_large`.",
    "499": "The job was cancelled by its owner.",
    "502": "Units failed on every attempt: `unit_failed`.",
    "503": "`no_units`, `redis_unavailable`, `overloaded` or `stopping`; see `Retry-After`.",
    "504": "The deadline passed: `deadline_exceeded`.",
}
_ANYWHERE = ("400", "401", "403", "408", "431", "503")
_JOBS = ("404", "413", "415", "422", "429", "499", "502", "504")

_ANSWER_HEADERS = {
    "x-adasplit-job": "The job's id.",
    "x-adasplit-class": "`short` or `long`.",
    "x-adasplit-unit": "The unit that answered.",
    "x-adasplit-queue-ms": "How long the job waited for its unit.",
    "x-adasplit-attempt": "Which try this was.",
    "x-adasplit-estimate-ms": "How long it was told to wait still, if it was estimated.",
    "x-adasplit-estimated-after-ms": "How long it had waited when that was told.",
    "x-ratelimit-remaining-requests": "And its like, where the key has limits.",
}


def document(settings: GatewaySettings) -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AdaSplit",
            "version": "1",
            "description": "OpenAI's API, as vLLM serves it, in front of several units. Fields and "
            "values that are not named here pass to the unit and come back as it answers.",
        },
        "paths": _paths(),
        "components": {
            "schemas": schemas(settings),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "When keys are set."},
                "admin": {"type": "http", "scheme": "bearer", "description": "When they are set."},
            },
        },
        "security": [{"key": []}, {}],
    }


def _paths() -> dict[str, Any]:
    return {
        "/v1/chat/completions": {"post": _completions("Chat", "Answer a chat.")},
        "/v1/completions": {"post": _completions("Completion", "Continue a text.")},
        "/v1/models": {"get": _get("What live units serve.", ref("Models"))},
        "/v1/jobs/{id}": {
            "get": _job("Tell of a job of one's own.", ref("Job")),
            "delete": _job("Cancel a job of one's own.", ref("Cancelled")),
        },
        "/v1/state": {"get": _get("Units, queues, policy.", ref("State")) | _ADMIN},
        "/healthz": {"get": _get("Alive.", ref("Status"))},
        "/readyz": {"get": _get("Able to accept jobs; else 503.", ref("Status"), ref("Status"))},
        "/metrics": {"get": _text("For Prometheus.", "text/plain") | _ADMIN},
        "/openapi.json": {"get": _get("This document.", {"type": "object"})},
        "/docs": {"get": _text("This document, to read.", "text/html")},
    }


_ADMIN: dict[str, Any] = {"security": [{"admin": []}, {"key": []}, {}]}


def _completions(kind: str, summary: str) -> dict[str, Any]:
    answers = {
        "application/json": {"schema": ref(f"{kind}Answer")},
        "text/event-stream": {},
    }
    return {
        "summary": summary,
        "description": "Streamed when `stream` is true: events `data: {…}`, the last `data: "
        '[DONE]`. A stream that fails ends with `data: {"error": …}` instead.',
        "parameters": [
            _header(
                CLASS_HEADER,
                "Overrules the prompt's length.",
                {"type": "string", "enum": list(CLASSES)},
            ),
            _header(
                TIMEOUT_HEADER,
                "From arrival to the end of the answer, in seconds.",
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1e9},
            ),
            _header(
                NAME_HEADER,
                "The client's own name for the job, by which `/v1/jobs/{id}` finds it as well.",
                {"type": "string", "pattern": f"^{NAME.pattern}$"},
            ),
            _header(
                PRIORITY_HEADER,
                "Lower is sooner, within a class and as far as the key may; before the body's.",
                {"type": "integer", "minimum": -100, "maximum": 100},
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref(f"{kind}Request")}},
        },
        "responses": _responses({"description": "The unit's answer.", "content": answers}, _JOBS),
    }


def _header(name: str, says: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": says, "schema": schema}


def _responses(good: dict[str, Any], more: tuple[str, ...]) -> dict[str, Any]:
    headers = {
        name: {"description": says, "schema": {"type": "string"}}
        for name, says in _ANSWER_HEADERS.items()
    }
    good = good | {"headers": headers} if more is _JOBS else good
    return {"200": good} | {status: _failed(status) for status in sorted({*_ANYWHERE, *more})}


def _failed(status: str, schema: Schema | None = None) -> dict[str, Any]:
    content = {"application/json": {"schema": schema or ref("Error")}}
    answer: dict[str, Any] = {"description": _ERRORS[status], "content": content}
    if status in {"429", "503"} and schema is None:
        says = {"description": "Seconds, below 120.", "schema": {"type": "integer", "minimum": 1}}
        answer["headers"] = {"retry-after": says}
    return answer


def _get(summary: str, schema: Schema, unavailable: Schema | None = None) -> dict[str, Any]:
    good = {"description": summary, "content": {"application/json": {"schema": schema}}}
    responses = _responses(good, ("405",))
    if unavailable:
        responses["503"] = _failed("503", unavailable)
    return {"summary": summary, "responses": responses}


def _job(summary: str, schema: Schema) -> dict[str, Any]:
    named = {"type": "string", "minLength": 1}
    operation = _get(summary, schema)
    operation["parameters"] = [{"name": "id", "in": "path", "required": True, "schema": named}]
    operation["responses"]["404"] = _failed("404")
    return operation


def _text(summary: str, kind: str) -> dict[str, Any]:
    good = {"description": summary, "content": {kind: {"schema": {"type": "string"}}}}
    return {"summary": summary, "responses": _responses(good, ("405",))}
