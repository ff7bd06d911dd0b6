"""Clients that ask one request after the other and hold every answer against what it must be."""

import asyncio
import itertools
import json
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

MODEL = "simulated-llama-3-70b"
TOKENS = 30


@dataclass
class Steady:
    """`seen`: how requests ended. `jobs`: the ids of all that were answered."""

    url: str
    seen: Counter[str] = field(default_factory=Counter)
    jobs: list[str] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _answered: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, clients: int) -> None:
        """Ask until `stop`; returns once all have their last answer."""
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._ask_on(session))

    def stop(self) -> None:
        self._stop.set()

    async def more(self, count: int) -> None:
        """Wait until so many more requests have been answered."""
        wanted = self.seen.total() + count
        async with asyncio.timeout(120), self._answered:
            await self._answered.wait_for(lambda: self.seen.total() >= wanted)

    async def _ask_on(self, session: aiohttp.ClientSession) -> None:
        while not self._stop.is_set():
            ended = await self._ask(session, next(self._numbers))
            async with self._answered:
                self.seen[ended] += 1
                self._answered.notify_all()

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> str:
        stream = number % 2 == 0
        words = 5000 if number % 7 == 0 else 20
        body = {
            "model": MODEL, "prompt": f"request {number}" + " word" * words, "stream": stream,
            "max_tokens": TOKENS, "ignore_eos": True,
        }  # fmt: skip
        async with session.post(f"{self.url}/v1/completions", json=body) as answer:
            text = await answer.text()
        if answer.status != 200:
            return f"{answer.status} {text}"
        self.jobs.append(answer.headers["x-adasplit-job"])
        return _streamed(text) if stream else _whole(text)


def _whole(text: str) -> str:
    tokens = json.loads(text)["usage"]["completion_tokens"]
    return "ok" if tokens == TOKENS else f"{tokens} tokens"


def _streamed(text: str) -> str:
    events = text.split("\n\n")
    if "data: [DONE]" not in events:
        return f"broken: {events[-2:]}"
    pieces = sum('"text":' in event for event in events)
    return "ok" if pieces >= TOKENS else f"{pieces} pieces"
