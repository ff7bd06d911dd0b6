"""`python -m bench.cost.unit`: a unit as cheap as one can be, so that what is before it shows.

It is no model of a server: an answer in one piece comes at once, and streams advance in steps, all
of them together, as those of an engine do. Every answer begins with the last word of its prompt;
one in one piece says when its request came and when it left, in microseconds of the system's clock.
"""

import argparse
import asyncio
import time
from typing import Any, cast

import httptools
import orjson
import uvloop

MODEL = "tiny"
_WORD = " token"
# LiteLLM takes a stream that says the same thing a hundred times for one that went wrong.
_WORDS = (_WORD, " tokens")
_PROMPT_TOKENS = 8
_MODELS = orjson.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
_METRICS = b"vllm:num_requests_running 0\nvllm:num_requests_waiting 0\n"
_PAGES = {"/health": b"", "/v1/models": _MODELS, "/metrics": _METRICS}
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"


class Stream:
    """One streamed answer under way: two events in turn for its tokens, made once."""

    def __init__(self, asked: dict[str, Any], transport: asyncio.Transport, number: int) -> None:
        self._transport = transport
        self._id = f"chatcmpl-{number}"
        self._left = self._tokens = _tokens(asked)
        self._with_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        self._events = [_chunk(self._event({"content": word})) for word in _WORDS]
        first = {"role": "assistant", "content": _last_word(asked)}
        transport.write(_STREAM_HEAD + _chunk(self._event(first)))
        self._left -= 1

    @property
    def gone(self) -> bool:
        return self._transport.is_closing()

    def step(self) -> bool:
        """Send one token; whether it was the last."""
        self._left -= 1
        if self._left > 0:
            self._transport.write(self._events[self._left % len(self._events)])
            return False
        last = self._event({"content": _WORD} if self._tokens > 1 else {}, "length")
        usage = _chunk(self._usage()) if self._with_usage else b""
        self._transport.write(_chunk(last) + usage + _chunk(b"[DONE]") + _LAST_CHUNK)
        return True

    def _event(self, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return orjson.dumps(self._fields() | {"choices": [choice]})

    def _usage(self) -> bytes:
        return orjson.dumps(self._fields() | {"choices": [], "usage": _usage(self._tokens)})

    def _fields(self) -> dict[str, Any]:
        return {"id": self._id, "object": "chat.completion.chunk", "created": 1, "model": MODEL}


class Engine:
    """Takes every stream one token further, so many times a second, while there is one."""

    def __init__(self, tokens_per_s: float) -> None:
        self._step_s = 1 / tokens_per_s
        self._streams: list[Stream] = []
        self._due_s = 0.0
        self._numbers = 0

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def begin(self, stream: Stream) -> None:
        self._streams.append(stream)
        if len(self._streams) == 1:
            self._due_s = asyncio.get_running_loop().time()
            self._schedule()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        # A step that was late does not make the next one early, as with an engine.
        self._due_s = max(self._due_s + self._step_s, loop.time())
        loop.call_at(self._due_s, self._step)

    def _step(self) -> None:
        self._streams = [one for one in self._streams if not (one.gone or one.step())]
        if self._streams:
            self._schedule()


class Exchanges(asyncio.Protocol):
    """One connection: requests one after the other, each answered as its path says."""

    _transport: asyncio.Transport

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""
        self._came_us = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._came_us = _now_us()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    # What follows are the parser's callbacks, by its names.

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"POST":
            self._complete(orjson.loads(self._body))
        elif (page := _PAGES.get(self._url.decode().partition("?")[0])) is not None:
            self._answer(b"200 OK", page)
        else:
            self._answer(b"404 Not Found", b"{}")

    def _complete(self, asked: dict[str, Any]) -> None:
        number = self._engine.number()
        if asked.get("stream"):
            self._engine.begin(Stream(asked, self._transport, number))
        else:
            self._answer(b"200 OK", _whole(asked, number, self._came_us))

    def _answer(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)
        if not self._parser.should_keep_alive():
            self._transport.close()


def _whole(asked: dict[str, Any], number: int, came_us: int) -> bytes:
    tokens = _tokens(asked)
    message = {"role": "assistant", "content": _last_word(asked) + _WORD * (tokens - 1)}
    return orjson.dumps(
        {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
            ],
            "usage": _usage(tokens),
            "system_fingerprint": f"{came_us} {_now_us()}",
        }
    )


def _now_us() -> int:
    return time.time_ns() // 1000


def _tokens(asked: dict[str, Any]) -> int:
    # sglang-router writes the older name anew as the newer one.
    return int(asked.get("max_tokens") or asked["max_completion_tokens"])


def _usage(tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": _PROMPT_TOKENS,
        "completion_tokens": tokens,
        "total_tokens": _PROMPT_TOKENS + tokens,
    }


def _last_word(asked: dict[str, Any]) -> str:
    content = asked["messages"][-1]["content"]
    return str(content).rpartition(" ")[2]


def _chunk(event: bytes) -> bytes:
    line = b"data: %b\n\n" % event
    return b"%x\r\n%b\r\n" % (len(line), line)


async def serve(host: str, port: int, tokens_per_s: float) -> None:
    engine = Engine(tokens_per_s)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Exchanges(engine), host, port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens-per-s", type=float, default=50.0)
    given = parser.parse_args()
    uvloop.run(serve(given.host, given.port, given.tokens_per_s))


if __name__ == "__main__":
    main()
