"""Every process is restarted in order under load, and no client notices."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from openai import AsyncOpenAI, OpenAIError

from tests.chaos.drive import ready
from tests.chaos.fleet import Fleet, Member
from tests.chaos.load import MODEL
from tests.chaos.verdict import left_behind
from tests.chaos.watch import Watch

CLIENTS = 12


class Clients:
    """Ask one request after the other, each client in its own way; none ever tries again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.stop = asyncio.Event()
        self.seen: Counter[str] = Counter()
        self._numbers = itertools.count()

    async def run(self) -> None:
        ways = itertools.cycle((self._kept, self._fresh, self._streamed, self._openai))
        async with asyncio.TaskGroup() as group:
            for way, _ in zip(ways, range(CLIENTS), strict=False):
                group.create_task(self._until_it_fails(way))

    async def _until_it_fails(self, way: Callable[[], Awaitable[None]]) -> None:
        try:
            await way()
        except (httpx.HTTPError, OpenAIError) as error:
            self.seen[f"{way.__name__}: {error!r} {error.__cause__!r}"] += 1
            self.stop.set()

    def _body(self, *, stream: bool = False) -> dict[str, object]:
        number = next(self._numbers)
        prompt = f"request {number}" + " word" * (6000 if number % 9 == 0 else 20)
        return {"model": MODEL, "prompt": prompt, "max_tokens": 40, "stream": stream}

    async def _kept(self) -> None:
        """On one connection, as long as it is kept."""
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as client:
            while not self.stop.is_set():
                answer = await client.post("/v1/completions", json=self._body())
                self.seen[str(answer.status_code)] += 1

    async def _fresh(self) -> None:
        """Each on a new connection."""
        while not self.stop.is_set():
            async with httpx.AsyncClient(base_url=self._url, timeout=60) as client:
                answer = await client.post("/v1/completions", json=self._body())
                self.seen[str(answer.status_code)] += 1

    async def _streamed(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as client:
            while not self.stop.is_set():
                body = self._body(stream=True)
                async with client.stream("POST", "/v1/completions", json=body) as answer:
                    received = await answer.aread()
                whole = received.endswith(b"data: [DONE]\n\n") and b'"error"' not in received
                self.seen["streamed" if whole else f"broken {received[-200:]!r}"] += 1

    async def _openai(self) -> None:
        url = f"{self._url}/v1"
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
            while not self.stop.is_set():
                messages = [{"role": "user", "content": f"request {next(self._numbers)}"}]
                answer = await client.chat.completions.create(
                    model=MODEL,
                    messages=messages,  # type: ignore[arg-type]  # a plain dict, as people write it
                    max_tokens=40,
                )
                self.seen["openai" if answer.choices[0].message.content else "empty"] += 1

    async def more(self, count: int) -> None:
        """Wait until so many more requests were answered."""
        wanted = self.seen.total() + count
        async with asyncio.timeout(60):
            while self.seen.total() < wanted and not self.stop.is_set():  # noqa: ASYNC110  # clients count, and set no event
                await asyncio.sleep(0.02)


def starts(member: Member) -> int:
    return member.log.read_text().count("Started server process")


async def restart(member: Member) -> None:
    """In order; on a shared port only its log tells that it is back."""
    before = starts(member)
    assert await member.terminate() == 0, member.name
    member.start()
    async with asyncio.timeout(60):
        while starts(member) == before:  # noqa: ASYNC110  # a log sets no event
            await asyncio.sleep(0.05)


async def test_a_rolling_restart_fails_no_request(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "valkey", shared_port=True)
    watch = Watch(fleet.client)
    try:
        await fleet.start()
        await ready(fleet)
        clients = Clients(fleet.gateway_urls[0])
        asking = asyncio.create_task(clients.run())
        for member in [*fleet.gateways, *fleet.dispatchers, *fleet.scalers]:
            await clients.more(15)
            await restart(member)
            await ready(fleet)
        await clients.more(15)
        clients.stop.set()
        async with asyncio.timeout(60):
            await asking
        await watch.read_events()
        async with asyncio.timeout(60):
            while await left_behind(fleet.client):  # noqa: ASYNC110  # Redis tells nobody
                await asyncio.sleep(0.1)
    finally:
        await fleet.aclose()
    assert set(clients.seen) == {"200", "streamed", "openai"}, clients.seen
    outcomes = [event for event in watch.events.values() if event["event"] == "finished"]
    assert {event["outcome"] for event in outcomes} == {"ok"}
    assert len(outcomes) == len(watch.by_job()) == clients.seen.total()
