"""A request as its body describes it: parsed once, checked as far as the gateway relies on it.

What the gateway does not know passes to the unit as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from gateway.bounds import Bounds
from gateway.errors import malformed
from gateway.structure import check_shape, check_size

Route = Literal["/v1/chat/completions", "/v1/completions"]

_Check = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request's prompt tokens are counted from.

    `pictured` says that it holds more than text, so that its length says little about its tokens.
    """

    texts: tuple[str, ...] = ()
    ids: int = 0
    pictured: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may become a job."""

    model: str
    stream: bool
    prompt: Prompt
    priority: int = 0


def parse_request(body: bytes, route: Route, bounds: Bounds) -> Request:
    """Raises ApiError 400, whose `param` names the field that is wrong."""
    check_size(body, bounds.objects)
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise malformed(f"The body is not JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise malformed("The body is a JSON object.")
    check_shape(fields, body, bounds.depth)
    _check_fields(fields, bounds)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise malformed("`model` is a string and required.", "model")
    bounds.check_name("model", model)
    chat = route == "/v1/chat/completions"
    prompt = _chat_prompt(fields, bounds) if chat else _completion_prompt(fields, bounds)
    if len(body) > bounds.text_chars:
        bounds.check_texts("messages" if chat else "prompt", prompt.texts)
    return Request(model, fields.get("stream") is True, prompt, fields.get("priority") or 0)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_positive(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_stop(value: Any) -> bool:
    return _is_text(value) or (_is_list(value) and all(map(_is_text, value)))


_WHOLE: tuple[_Check, str] = (_is_whole, "a whole number")
_COUNT: tuple[_Check, str] = (_is_count, "a whole number, 0 or more")
_NUMBER: tuple[_Check, str] = (_is_number, "a number")
_FLAG: tuple[_Check, str] = (_is_flag, "true or false")
_OBJECT: tuple[_Check, str] = (_is_object, "an object")

_CHECKS: dict[str, tuple[_Check, str]] = {
    "stream": _FLAG,
    "stream_options": _OBJECT,
    "n": (_is_positive, "a whole number, 1 or more"),
    "best_of": (_is_positive, "a whole number, 1 or more"),
    "max_tokens": _COUNT,
    "max_completion_tokens": _COUNT,
    "min_tokens": _COUNT,
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "seed": _WHOLE,
    "priority": _WHOLE,
    "stop": (_is_stop, "a string or a list of strings"),
    "user": (_is_text, "a string"),
    "tools": (_is_list, "a list"),
    "logit_bias": _OBJECT,
}


def _check_fields(fields: dict[str, Any], bounds: Bounds) -> None:
    refused = bounds.refused_fields.intersection(fields)
    if refused:
        name = min(refused)
        raise malformed(f"`{name}` is not taken here.", name)
    for name, value in fields.items():
        check = _CHECKS.get(name)
        if check and value is not None:
            if not check[0](value):
                raise malformed(f"`{name}` is {check[1]}.", name)
            bounds.check_number(name, value)
    for name in ("user", "stop"):
        value = fields.get(name)
        for text in [value] if isinstance(value, str) else value or ():
            bounds.check_name(name, text)


def _chat_prompt(fields: dict[str, Any], bounds: Bounds) -> Prompt:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise malformed("`messages` is a list of messages, not empty.", "messages")
    if len(messages) > bounds.messages:
        raise malformed(f"There are at most {bounds.messages} messages.", "messages")
    texts: list[str] = []
    pictured = False
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            raise malformed("A message is an object.", f"messages[{at}]")
        if not isinstance(message.get("role"), str):
            raise malformed("A message's role is a string.", f"messages[{at}].role")
        bounds.check_name(f"messages[{at}].role", message["role"])
        pictured |= _read_content(message.get("content"), at, texts, bounds)
        if message.get("tool_calls"):
            texts.append(orjson.dumps(message["tool_calls"]).decode())
    if fields.get("tools"):
        texts.append(orjson.dumps(fields["tools"]).decode())
    return Prompt(("\n".join(texts),), pictured=pictured)


def _read_content(content: Any, at: int, texts: list[str], bounds: Bounds) -> bool:
    """Add a message's text to `texts`; answers whether there is more than text."""
    param = f"messages[{at}].content"
    if content is None:
        return False
    if isinstance(content, str):
        texts.append(content)
        return False
    if not isinstance(content, list) or not all(map(_is_object, content)):
        raise malformed("A message's content is a string or a list of parts.", param)
    pictured = False
    for part in content:
        text = part.get("text")
        if isinstance(text, str):
            texts.append(text)
        elif part.get("type") == "text":
            raise malformed("A text part has a text.", param)
        else:
            pictured = True
        if not part.keys() <= _OF_TEXT:
            bounds.check_part({name: part[name] for name in part.keys() - _OF_TEXT}, param)
    return pictured


_OF_TEXT = frozenset({"type", "text"})


def _completion_prompt(fields: dict[str, Any], bounds: Bounds) -> Prompt:
    prompt = fields.get("prompt")
    if isinstance(prompt, str):
        return Prompt((prompt,))
    if prompt is None and "prompt_embeds" in fields:
        return Prompt(pictured=True)
    if isinstance(prompt, list) and prompt:
        kinds = set(map(type, prompt))
        if kinds == {int}:
            return Prompt(ids=len(prompt))
        if len(prompt) > bounds.prompts:
            raise malformed(f"There are at most {bounds.prompts} prompts.", "prompt")
        if kinds == {str}:
            return Prompt(tuple(prompt))
        if kinds == {list} and all(ids and set(map(type, ids)) == {int} for ids in prompt):
            return Prompt(ids=sum(map(len, prompt)))
    raise malformed(
        "`prompt` is a string, a list of strings, of token ids or of lists of them.", "prompt"
    )
