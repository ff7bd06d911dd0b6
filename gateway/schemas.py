"""The schemas of what goes in and out, for the OpenAPI page.

Bodies are open: fields that are not named pass to the unit, and what a unit answers is its own.
"""

from typing import Any

from gateway.settings import GatewaySettings

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def schemas(settings: GatewaySettings) -> dict[str, Schema]:
    return {
        "ChatRequest": _chat_request(settings),
        "CompletionRequest": _completion_request(settings),
        "Message": _message(settings),
        "ChatAnswer": _answer(
            {"message": {"type": "object"}, "finish_reason": {"type": ["string", "null"]}}
        ),
        "CompletionAnswer": _answer(
            {"text": {"type": "string"}, "finish_reason": {"type": ["string", "null"]}}
        ),
        "Usage": _object(
            {"prompt_tokens": _count(), "completion_tokens": _count(), "total_tokens": _count()}
        ),
        "Models": _models(),
        "Job": _job(),
        "Cancelled": _object(
            {
                "id": {"type": "string"},
                "object": {"const": "job"},
                "result": {"enum": ["cancelled", "cancelling", "finished"]},
            },
        ),
        "State": _state(),
        "Status": _object({"status": {"type": "string"}}),
        "Error": _error(),
    }


def _object(properties: Schema, required: list[str] | None = None) -> Schema:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names}


def _count(most: int | None = None, least: int = 0) -> Schema:
    schema: Schema = {"type": "integer", "minimum": least}
    return schema if most is None else schema | {"maximum": most}


def _common(settings: GatewaySettings) -> Schema:
    tokens = nullable(_count(settings.max_output_tokens))
    name = {"type": "string", "maxLength": settings.max_name_chars}
    number = nullable({"type": "number", "minimum": -1e300, "maximum": 1e300})
    return {
        "model": name | {"minLength": 1, "description": "One that GET /v1/models lists."},
        "stream": nullable({"type": "boolean"}),
        "stream_options": nullable(
            {
                "type": "object",
                "properties": {
                    "include_usage": {"type": "boolean"},
                    "continuous_usage_stats": {"type": "boolean"},
                },
            }
        ),
        "n": nullable(_count(settings.max_n, 1)),
        "max_tokens": tokens,
        "temperature": number,
        "top_p": number,
        "presence_penalty": number,
        "frequency_penalty": number,
        "seed": nullable({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}),
        "stop": nullable({"anyOf": [name, {"type": "array", "items": name}]}),
        "user": nullable(name),
        "logit_bias": nullable({"type": "object"}),
        "ignore_eos": {"type": "boolean", "description": "vLLM's own; as are all others."},
    }


def _chat_request(settings: GatewaySettings) -> Schema:
    messages: Schema = {"type": "array", "minItems": 1, "maxItems": settings.max_messages}
    own = {
        "messages": messages | {"items": ref("Message")},
        "max_completion_tokens": nullable(_count(settings.max_output_tokens)),
        "tools": nullable({"type": "array", "items": {"type": "object"}}),
        "tool_choice": {},
        "response_format": nullable({"type": "object"}),
        "logprobs": nullable({"type": "boolean"}),
        "top_logprobs": nullable(_count(20)),
    }
    return _object(_common(settings) | own, ["model", "messages"])


def _completion_request(settings: GatewaySettings) -> Schema:
    ids = {"type": "array", "items": _count(), "minItems": 1}
    text = {"type": "string", "maxLength": settings.max_text_chars}
    several: Schema = {"type": "array", "minItems": 1, "maxItems": settings.max_prompts}
    prompt = {"anyOf": [text, ids, several | {"items": text}, several | {"items": ids}]}
    own = {
        "prompt": prompt,
        "logprobs": nullable(_count(20)),
        "echo": nullable({"type": "boolean"}),
        "best_of": nullable(_count(settings.max_best_of, 1)),
    }
    return _object(_common(settings) | own, ["model", "prompt"])


def _message(settings: GatewaySettings) -> Schema:
    text = {"type": "string", "maxLength": settings.max_text_chars}
    part = {
        "type": "object",
        "description": '`{"type": "text", "text": …}`, or a picture, sound or film as a data: URL.',
        "properties": {"type": {"type": "string"}, "text": {"type": "string"}},
        "required": ["type"],
    }
    content = {"anyOf": [text, {"type": "array", "items": part}, {"type": "null"}]}
    role = {"type": "string", "maxLength": settings.max_name_chars}
    return _object({"role": role, "content": content}, ["role"])


def _answer(choice: Schema) -> Schema:
    properties = {
        "id": {"type": "string"},
        "object": {"type": "string"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {"type": "array", "items": _object({"index": _count()} | choice)},
        "usage": nullable(ref("Usage")),
    }
    return _object(properties)


def _models() -> Schema:
    model = _object(
        {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer"},
            "owned_by": {"type": "string"},
        }
    )
    return _object({"object": {"const": "list"}, "data": {"type": "array", "items": model}})


def _job() -> Schema:
    seconds, text = nullable({"type": "number"}), nullable({"type": "string"})
    times = {"submitted", "claimed", "first_byte", "finished", "deadline"}
    return _object(
        {
            "id": {"type": "string"},
            "object": {"const": "job"},
            "state": {"enum": ["queued", "running", "finished"]},
            "outcome": text,
            "class": {"enum": ["short", "long"]},
            "unit": text,
            "why": text,
            "reason": text,
            "route": text,
            "position": nullable(_count()),
            "estimated_start_s": seconds,
            "attempts": _count(),
            "tokens": _count(),
            "status": nullable({"type": "integer"}),
            "stream": {"type": "boolean"},
            "times_ms": _object({name: nullable(_count()) for name in sorted(times)}),
            "durations_s": _object(dict.fromkeys(("queue", "ttft", "total"), seconds)),
        }
    )


def _state() -> Schema:
    queue = _object({"depth": _count(), "oldest_s": nullable({"type": "number"})})
    each = {"type": "object", "additionalProperties": {"type": "object"}}
    return _object(
        {
            "pool": {"type": "string"},
            "now_ms": _count(),
            "units": each,
            "queues": _object({"short": queue, "long": queue}),
            "policy": {"type": "object"},
            "overrides": {"type": "object"},
        }
    )


def _error() -> Schema:
    error = {
        "message": {"type": "string"},
        "type": {"type": "string"},
        "param": nullable({"type": "string"}),
        "code": {"description": "A word of AdaSplit's; a unit's own may be a number."},
    }
    return _object({"error": _object(error)})
