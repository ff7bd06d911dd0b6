"""What a baseline must know of a request: its class, and whether its answer is streamed."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from baseline.errors import Refused
from common.keys import CLASSES, JobClass


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that can be sent to a unit as it is."""

    job_class: JobClass
    stream: bool


def read_request(
    body: bytes, said_class: str | None, *, bytes_per_token: float, long_threshold_tokens: int
) -> Asked:
    """Judge a request by its header, else by its length. Raises Refused."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "The body is a JSON object.")
    stream = fields.get("stream") is True
    if said_class is None:
        tokens = prompt_tokens(fields, bytes_per_token)
        return Asked("long" if tokens >= long_threshold_tokens else "short", stream)
    if said_class not in CLASSES:
        raise Refused(HTTPStatus.BAD_REQUEST, "x-adasplit-class is short or long.")
    return Asked(said_class, stream)


def prompt_tokens(fields: Mapping[str, Any], bytes_per_token: float) -> int:
    """About how many tokens a prompt has: exact for token ids, else from its text."""
    prompt = fields.get("prompt")
    ids = sum(map(_ids, prompt)) if isinstance(prompt, list) else 0
    text_bytes = sum(len(text.encode()) for text in _texts(fields))
    return ids + math.ceil(text_bytes / bytes_per_token)


def _ids(part: Any) -> int:
    if isinstance(part, list):
        return len(part)
    return 1 if isinstance(part, int) else 0


def _texts(fields: Mapping[str, Any]) -> Iterator[str]:
    prompt = fields.get("prompt")
    yield from _strings(prompt)
    for message in _list(fields.get("messages")):
        content = message.get("content") if isinstance(message, dict) else None
        yield from _strings(content)
        for part in _list(content):
            yield from _strings(part.get("text") if isinstance(part, dict) else None)


def _strings(found: Any) -> Iterator[str]:
    return (one for one in [found, *_list(found)] if isinstance(one, str))


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []
