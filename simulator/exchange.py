"""One request while it is answered: from its sequences in the engine to the bytes on the wire."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from simulator.answers import DONE, Answer
from simulator.driver import Driver
from simulator.engine import Sequence, State
from simulator.requests import Generation, Request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SSE_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8")]


class Choice:
    """One choice of an answer; the driver tells it of each token."""

    __slots__ = ("_exchange", "finish_reason", "generation", "sequence")

    def __init__(self, exchange: "Exchange", generation: Generation) -> None:
        self._exchange = exchange
        self.generation = generation
        self.finish_reason = generation.finish_reason
        self.sequence = Sequence(generation.prompt_tokens, len(generation.ids), owner=self)

    def token_written(self, sequence: Sequence) -> None:
        self._exchange.token_written(self.generation, sequence)


class Exchange:
    """Holds the chunks that are written and not yet sent; `gone` is set when the client left."""

    def __init__(self, request: Request, driver: Driver) -> None:
        self.request = request
        self.gone = asyncio.Event()
        self._driver = driver
        self._answer = Answer(request)
        self._choices = [Choice(self, one) for one in request.generations]
        self._unfinished = len(self._choices)
        self._chunks: list[bytes] = []
        self._wake = asyncio.Event()

    def start(self) -> None:
        for choice in self._choices:
            self._driver.submit(choice.sequence)

    def leave(self) -> None:
        """The client is gone, or the answer was cut: whatever still runs is aborted."""
        self.gone.set()
        self._wake.set()
        for choice in self._choices:
            self._driver.abort(choice.sequence)

    def token_written(self, generation: Generation, sequence: Sequence) -> None:
        finished = sequence.state is State.FINISHED
        self._unfinished -= finished
        if self.request.stream:
            at = sequence.generated_tokens - 1
            if at == 0 and self.request.chat:
                self._chunks.append(self._answer.role_chunk(generation.index))
            self._chunks.append(self._answer.token_chunk(generation, at))
            self._wake.set()
        elif not self._unfinished:
            self._wake.set()

    async def stream(self, send: Send) -> None:
        """Sends each token's chunk as it is written; returns early when the client leaves."""
        await send({"type": "http.response.start", "status": 200, "headers": SSE_HEADERS})
        while not self.gone.is_set():
            await self._wake.wait()
            self._wake.clear()
            chunks, self._chunks = self._chunks, []
            for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if not self._unfinished and not self._chunks:
                ending = self._ending()
                await send({"type": "http.response.body", "body": ending, "more_body": False})
                return

    async def whole(self) -> bytes | None:
        """The body of an answer that is not streamed; None when the client left."""
        while self._unfinished and not self.gone.is_set():
            await self._wake.wait()
            self._wake.clear()
        return None if self._unfinished else self._answer.body()

    def _ending(self) -> bytes:
        if not self.request.include_usage:
            return DONE
        written = sum(len(one.ids) for one in self.request.generations)
        return self._answer.usage_chunk(written) + DONE


async def watch(receive: Receive, exchange: Exchange) -> None:
    """Aborts the exchange when its client leaves."""
    while (await receive())["type"] != "http.disconnect":
        continue
    exchange.leave()
