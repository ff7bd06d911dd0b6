"""Clients of the composed system, with the package that most people call it with."""

import asyncio
import itertools
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

import httpx2
from openai import AsyncOpenAI, OpenAIError

log = logging.getLogger(__name__)

MODEL = "simulated-llama-3-70b"
TOKENS = 40


@dataclass
class Seen:
    """How one request ended, by the clock of its client."""

    way: str
    started_s: float
    outcome: str = "ok"


@dataclass
class Load:
    """Asks, one request after the other in each of `clients`, streamed and not by turns.

    None is ever tried again: what the package's retries would hide is to be seen.
    """

    url: str
    clients: int = 12
    seen: list[Seen] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _group: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        for number in range(self.clients):
            self._group.create_task(self._ask_on(streamed=number % 2 == 0))
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._stop.set()
        await self._group.__aexit__(*failure)  # type: ignore[arg-type]  # passed on as it came
        log.info("load ended requests=%d outcomes=%s", len(self.seen), dict(self.outcomes))

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(one.outcome for one in self.seen)

    def failed(self) -> list[Seen]:
        return [one for one in self.seen if one.outcome != "ok"]

    async def more(self, count: int) -> None:
        """Until so many more requests have ended."""
        wanted = len(self.seen) + count
        async with asyncio.timeout(180):
            while len(self.seen) < wanted:  # noqa: ASYNC110  # clients count, and set no event
                await asyncio.sleep(0.05)

    async def _ask_on(self, *, streamed: bool) -> None:
        ask = self._streamed if streamed else self._whole
        url = f"{self.url}/v1"
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=180) as client:
            while not self._stop.is_set():
                one = Seen("streamed" if streamed else "whole", time.monotonic())
                try:
                    if await ask(client) != TOKENS:
                        one.outcome = "not whole"
                except (OpenAIError, httpx2.HTTPError) as error:
                    one.outcome = repr(error)
                self.seen.append(one)

    def _prompt(self) -> str:
        number = next(self._numbers)
        return f"request {number}" + " word" * (6000 if number % 9 == 0 else 20)

    async def _whole(self, client: AsyncOpenAI) -> int:
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": self._prompt()}],
            max_tokens=TOKENS,
            extra_body={"ignore_eos": True},
        )
        assert answer.usage
        return answer.usage.completion_tokens

    async def _streamed(self, client: AsyncOpenAI) -> int:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": self._prompt()}],
            max_tokens=TOKENS,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        tokens = 0
        async for event in stream:
            tokens = event.usage.completion_tokens if event.usage else tokens
        return tokens
