"""Bytes of answers as vLLM writes them: SSE chunks from ready templates, and whole bodies."""

import time
import uuid
from typing import Any

import orjson

from simulator.requests import Generation, Request
from simulator.text import PIECE_BYTES

DONE = b"data: [DONE]\n\n"

_CHAT_END = b'"},"logprobs":null,"finish_reason":null,"token_ids":null}]'
_TEXT_END = (
    b'","logprobs":null,"finish_reason":null,"stop_reason":null,'
    b'"prompt_token_ids":null,"token_ids":null}]'
)


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }


class Answer:
    """The identity of one answer and every byte string that it can consist of."""

    def __init__(self, request: Request) -> None:
        self.request = request
        kind = "chatcmpl" if request.chat else "cmpl"
        self.id = f"{kind}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self._object = "chat.completion" if request.chat else "text_completion"
        streamed = "chat.completion.chunk" if request.chat else "text_completion"
        head = {"id": self.id, "object": streamed, "created": self.created, "model": request.model}
        self._head = b"data: " + orjson.dumps(head)[:-1] + b',"choices":['
        opening = b',"delta":{"content":"' if request.chat else b',"text":"'
        self._openings = [
            b'%s{"index":%d%s' % (self._head, one.index, opening) for one in request.generations
        ]
        self._end = _CHAT_END if request.chat else _TEXT_END
        self._usage_free_end = self._end + (b"}\n\n" if request.chat else b',"usage":null}\n\n')
        self._plain = not (request.continuous_usage or request.echo or request.logprobs is not None)

    def role_chunk(self, index: int) -> bytes:
        """The first chunk of a chat choice."""
        first = self.request.generations[index]
        counted = self._usage_suffix(first.prompt_tokens, 0)
        return (
            b'%s{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,'
            b'"finish_reason":null}],"prompt_token_ids":null%s}\n\n' % (self._head, index, counted)
        )

    def token_chunk(self, generation: Generation, at: int) -> bytes:
        """The chunk of one token; the last one also says how the choice ended."""
        last = at == len(generation.ids) - 1
        if self._plain and at < len(generation.ids) - len(generation.tail) and not last:
            opening = self._openings[generation.index]
            return opening + PIECE_BYTES[generation.ids[at]] + self._usage_free_end
        return self._rich_chunk(generation, at, last=last)

    def usage_chunk(self, completion_tokens: int) -> bytes:
        counted = orjson.dumps(usage(self.request.prompt_tokens, completion_tokens))
        return b'%s],"usage":%s}\n\n' % (self._head, counted)

    def body(self) -> bytes:
        """The whole answer of a request that is not streamed."""
        request = self.request
        written = sum(len(one.ids) for one in request.generations)
        counted = usage(request.prompt_tokens, written)
        choice = self._chat_choice if request.chat else self._text_choice
        return orjson.dumps(
            {
                "id": self.id,
                "object": self._object,
                "created": self.created,
                "model": request.model,
                "choices": list(map(choice, request.generations)),
                "service_tier": None,
                "system_fingerprint": None,
                "usage": {**counted, "prompt_tokens_details": None},
                **({"prompt_logprobs": None, "prompt_token_ids": None} if request.chat else {}),
                "kv_transfer_params": None,
            }
        )

    def _rich_chunk(self, generation: Generation, at: int, *, last: bool) -> bytes:
        ending = {"finish_reason": generation.finish_reason if last else None}
        if last or not self.request.chat:
            ending["stop_reason"] = generation.stop_reason if last else None
        piece = self._echo(generation) if at == 0 else ""
        piece += generation.piece(at)
        content = {"delta": {"content": piece}} if self.request.chat else {"text": piece}
        prompt_ids = {} if self.request.chat else {"prompt_token_ids": None}
        choice = orjson.dumps(
            {
                "index": generation.index,
                **content,
                "logprobs": self._logprobs(generation, range(at, at + 1)),
                **ending,
                **prompt_ids,
                "token_ids": None,
            }
        )
        counted = self._usage_suffix(generation.prompt_tokens, at + 1)
        return b"%s%s]%s}\n\n" % (self._head, choice, counted)

    def _usage_suffix(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        if self.request.continuous_usage:
            return b',"usage":' + orjson.dumps(usage(prompt_tokens, completion_tokens))
        return b"" if self.request.chat else b',"usage":null'

    def _echo(self, generation: Generation) -> str:
        if not self.request.echo:
            return ""
        return self.request.prompts[generation.index // self.request.n].echo

    def _chat_choice(self, generation: Generation) -> dict[str, Any]:
        return {
            "index": generation.index,
            "message": {
                "role": "assistant",
                "content": generation.text,
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "tool_calls": [],
                "reasoning": None,
            },
            "logprobs": self._logprobs(generation, range(len(generation.ids))),
            "finish_reason": generation.finish_reason,
            "stop_reason": generation.stop_reason,
            "token_ids": None,
        }

    def _text_choice(self, generation: Generation) -> dict[str, Any]:
        return {
            "index": generation.index,
            "text": self._echo(generation) + generation.text,
            "logprobs": self._logprobs(generation, range(len(generation.ids))),
            "finish_reason": generation.finish_reason,
            "stop_reason": generation.stop_reason,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
        }

    def _logprobs(self, generation: Generation, places: range) -> dict[str, Any] | None:
        top = self.request.logprobs
        if top is None:
            return None
        if self.request.chat:
            return {"content": [_chat_logprob(generation, at, top) for at in places]}
        tokens = [generation.piece(at) for at in places]
        values = [_logprob(generation.ids[at]) for at in places]
        lengths = [len(generation.piece(at)) for at in range(places.stop)]
        return {
            "text_offset": [sum(lengths[:at]) for at in places],
            "token_logprobs": values,
            "tokens": tokens,
            "top_logprobs": [
                {token: value} if top else None for token, value in zip(tokens, values, strict=True)
            ],
        }


def _logprob(token_id: int) -> float:
    """A made-up, repeatable value between 0 and -2."""
    return -(token_id % 97) / 48.5


def _chat_logprob(generation: Generation, at: int, top: int) -> dict[str, Any]:
    piece = generation.piece(at)
    entry = {
        "token": piece,
        "logprob": _logprob(generation.ids[at]),
        "bytes": list(piece.encode()),
    }
    return {**entry, "top_logprobs": [entry] if top else []}
