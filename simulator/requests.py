"""Bodies of chat and completion requests, checked and turned into what has to be generated."""

import dataclasses
from bisect import bisect_left, bisect_right
from http import HTTPStatus
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import orjson

from simulator import text
from simulator.errors import RefusedError, malformed

if TYPE_CHECKING:
    from collections.abc import Callable

_COMPLETION_MAX_TOKENS = 16
"""What /v1/completions generates when max_tokens is absent, by OpenAI's definition."""
_MOST_LOGPROBS = 20
_MOST_CHOICES = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: its length in tokens and the bytes that seed its answer."""

    tokens: int
    seed_bytes: bytes
    echo: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Generation:
    """One choice to write, decided before its first token: ids, texts and how it ends."""

    index: int
    prompt_tokens: int
    ids: list[int]
    finish_reason: str
    stop_reason: str | None = None
    tail: tuple[str, ...] = ()
    """Texts of the last tokens where they are not whole words: cut at a stop, or the end token."""

    def piece(self, at: int) -> str:
        in_tail = at - len(self.ids) + len(self.tail)
        return self.tail[in_tail] if in_tail >= 0 else text.PIECES[self.ids[at]]

    @property
    def text(self) -> str:
        return "".join(map(self.piece, range(len(self.ids))))


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request that the unit accepts."""

    chat: bool
    model: str
    stream: bool
    include_usage: bool
    continuous_usage: bool
    logprobs: int | None
    echo: bool
    n: int
    max_tokens: int | None
    prompts: list[Prompt]
    generations: list[Generation]
    fault: Any

    @property
    def prompt_tokens(self) -> int:
        return sum(prompt.tokens for prompt in self.prompts)


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What a request is checked against."""

    model: str
    max_model_len: int
    kv_cache_tokens: int
    seed: int


def read_object(body: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise malformed(f"JSON decode error: {error}") from error
    if not isinstance(fields, dict):
        raise malformed("Input should be a valid dictionary")
    return fields


def parse_request(body: bytes, rules: Rules, *, chat: bool) -> Request:
    """Raises RefusedError as vLLM would answer."""
    fields = read_object(body)
    check_model(fields, rules.model)
    prompts = _chat_prompts(fields) if chat else _completion_prompts(fields)
    options = _mapping(fields, "stream_options")
    stream = _flag(fields, "stream")
    if options and not stream:
        raise RefusedError("Stream options can only be defined when `stream=True`.")
    include_usage = _flag(options, "include_usage")
    limit = _limit(fields, chat=chat)
    n = _whole(fields, "n", at_least=1) or 1
    if n * len(prompts) > _MOST_CHOICES:
        raise RefusedError(f"n and prompts make more than {_MOST_CHOICES} choices.", param="n")
    draft = _Draft(fields, rules, limit)
    return Request(
        chat=chat,
        model=rules.model,
        stream=stream,
        include_usage=include_usage,
        continuous_usage=include_usage and _flag(options, "continuous_usage_stats"),
        logprobs=_logprobs(fields, chat=chat),
        echo=not chat and _flag(fields, "echo"),
        n=n,
        max_tokens=limit,
        prompts=prompts,
        generations=[
            draft.generation(prompt, at * n + choice, choice)
            for at, prompt in enumerate(prompts)
            for choice in range(n)
        ],
        fault=fields.get("simulator_fault"),
    )


def check_model(fields: dict[str, Any], served: str) -> None:
    asked = fields.get("model")
    if asked is None or asked == served:
        return
    if not isinstance(asked, str):
        raise malformed("Input should be a valid string", "model")
    raise RefusedError(
        f"The model `{asked}` does not exist.", status=HTTPStatus.NOT_FOUND, param="model"
    )


class _Draft:
    """The sampling parameters of one request, applied to each of its choices."""

    def __init__(self, fields: dict[str, Any], rules: Rules, limit: int | None) -> None:
        self._rules = rules
        self._limit = limit
        self._seed = _whole(fields, "seed") or 0
        self._ignore_eos = _flag(fields, "ignore_eos")
        self._min_tokens = _whole(fields, "min_tokens", at_least=0) or 0
        self._stops = _stops(fields)
        self._keep_stop = _flag(fields, "include_stop_str_in_output")
        if limit is not None and self._min_tokens > limit:
            raise RefusedError(
                f"min_tokens must be less than or equal to max_tokens={limit}, "
                f"got {self._min_tokens}."
            )

    def generation(self, prompt: Prompt, index: int, choice: int) -> Generation:
        room = self._room(prompt)
        seed = text.seed_of(self._rules.seed, self._seed, prompt.seed_bytes, choice)
        natural = room if self._ignore_eos else max(self._min_tokens, text.natural_length(seed))
        by_length = natural >= room
        ids = text.draw_words(seed, min(natural, room))
        if not by_length:
            ids[-1] = text.EOS_ID
        ended = Generation(
            index=index,
            prompt_tokens=prompt.tokens,
            ids=ids,
            finish_reason="length" if by_length else "stop",
            tail=() if by_length else ("",),
        )
        return self._cut(ended) if self._stops else ended

    def _room(self, prompt: Prompt) -> int:
        longest = self._rules.max_model_len
        room = longest - prompt.tokens
        if room < (self._limit or 1):
            raise _too_long(longest, prompt.tokens, self._limit)
        room = min(room, self._rules.kv_cache_tokens - prompt.tokens)
        return room if self._limit is None else min(room, self._limit)

    def _cut(self, whole: Generation) -> Generation:
        """The generation ended by the first stop string that is complete after min_tokens."""
        pieces = list(map(whole.piece, range(len(whole.ids))))
        ends = list(accumulate(map(len, pieces)))
        after = ends[min(self._min_tokens, len(ends)) - 1] if self._min_tokens else 0
        found = _first_stop("".join(pieces), self._stops, after)
        if found is None:
            return whole
        end, stop = found
        kept = end if self._keep_stop else end - len(stop)
        count = bisect_left(ends, end) + 1
        first_cut = min(bisect_right(ends, kept), count - 1)
        starts = [0, *ends]
        return dataclasses.replace(
            whole,
            ids=whole.ids[:count],
            finish_reason="stop",
            stop_reason=stop,
            tail=tuple(pieces[at][: max(0, kept - starts[at])] for at in range(first_cut, count)),
        )


def _first_stop(written: str, stops: list[str], after: int) -> tuple[int, str] | None:
    """Where the earliest stop string that reaches beyond `after` ends, and which it is."""
    found = []
    for stop in stops:
        at = written.find(stop, max(0, after - len(stop) + 1))
        if at >= 0:
            found.append((at + len(stop), stop))
    return min(found, default=None)


def _too_long(longest: int, prompt_tokens: int, limit: int | None) -> RefusedError:
    wanted = limit or 1
    return RefusedError(
        f"This model's maximum context length is {longest} tokens. However, you requested "
        f"{wanted} output tokens and your prompt contains {prompt_tokens} input tokens, for a "
        f"total of {prompt_tokens + wanted} tokens. Please reduce the length of the input prompt "
        f"or the number of requested output tokens.",
        param="input_tokens",
    )


def _limit(fields: dict[str, Any], *, chat: bool) -> int | None:
    for name in ("max_completion_tokens", "max_tokens") if chat else ("max_tokens",):
        limit = _whole(fields, name)
        if limit is None:
            continue
        if limit < 1:
            raise RefusedError(f"{name} must be at least 1, got {limit}.", param=name)
        return limit
    return None if chat else _COMPLETION_MAX_TOKENS


def _stops(fields: dict[str, Any]) -> list[str]:
    stop = fields.get("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(one, str) for one in stops):
        raise malformed("Input should be a valid string or list of strings", "stop")
    if not all(stops):
        raise RefusedError("stop cannot contain an empty string.", param="stop")
    return stops


def _logprobs(fields: dict[str, Any], *, chat: bool) -> int | None:
    if not chat:
        return _whole(fields, "logprobs", at_least=0)
    top = _whole(fields, "top_logprobs", at_least=0) or 0
    if top > _MOST_LOGPROBS:
        raise RefusedError(f"top_logprobs must be at most {_MOST_LOGPROBS}, got {top}.")
    return top if _flag(fields, "logprobs") else None


def _chat_prompts(fields: dict[str, Any]) -> list[Prompt]:
    messages = fields.get("messages")
    if not isinstance(messages, list):
        raise malformed("Field required" if messages is None else "not a list", "messages")
    if not messages:
        raise RefusedError("messages must not be empty", param="messages")
    contents = [_content(message) for message in messages]
    tokens = sum(map(text.count_tokens, contents))
    return [Prompt(max(1, tokens), "\n".join(contents).encode())]


def _content(message: Any) -> str:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise malformed("a message needs a role", "messages")
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(map(_part, content))
    raise malformed("content should be a string or a list of parts", "messages")


def _part(part: Any) -> str:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    raise RefusedError("This model takes text content only.", param="messages")


def _completion_prompts(fields: dict[str, Any]) -> list[Prompt]:
    prompt = fields.get("prompt")
    if isinstance(prompt, str):
        return [_text_prompt(prompt)]
    if not isinstance(prompt, list) or not prompt:
        raise RefusedError("Either prompt or prompt_embeds must be provided and non-empty.")
    if isinstance(prompt[0], int):
        return [_id_prompt(prompt)]
    make: Callable[[Any], Prompt] = _text_prompt if isinstance(prompt[0], str) else _id_prompt
    return [make(one) for one in prompt]


def _text_prompt(prompt: Any) -> Prompt:
    if not isinstance(prompt, str):
        raise malformed("Input should be a valid string", "prompt")
    return Prompt(max(1, text.count_tokens(prompt)), prompt.encode(), prompt)


def _id_prompt(prompt: Any) -> Prompt:
    if not isinstance(prompt, list) or not prompt or not all(isinstance(x, int) for x in prompt):
        raise malformed("Input should be a non-empty list of integers", "prompt")
    if not 0 <= min(prompt) <= max(prompt) < text.VOCABULARY_SIZE:
        raise RefusedError(f"Token id {max(prompt)} is out of vocabulary", param="prompt")
    return Prompt(len(prompt), orjson.dumps(prompt), text.text_of(prompt))


def _mapping(fields: dict[str, Any], name: str) -> dict[str, Any]:
    found = fields.get(name)
    if found is None:
        return {}
    if isinstance(found, dict):
        return found
    raise malformed("Input should be a valid dictionary", name)


def _flag(fields: dict[str, Any], name: str) -> bool:
    found = fields.get(name)
    if found is None or isinstance(found, bool):
        return bool(found)
    raise malformed("Input should be a valid boolean", name)


def _whole(fields: dict[str, Any], name: str, *, at_least: int | None = None) -> int | None:
    found = fields.get(name)
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool):
        raise malformed("Input should be a valid integer", name)
    if at_least is not None and found < at_least:
        raise RefusedError(f"{name} must be at least {at_least}, got {found}.", param=name)
    return found
