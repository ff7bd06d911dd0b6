"""A gateway in the test's own loop, on a real socket and a real Valkey; the test plays the unit."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from common.connection import Connection
from common.models import Claim, ClaimedJob, Finish, Outcome, Part, Relay
from common.server import listen
from common.store import Store
from common.views import Views
from gateway.mailbox import Mailbox
from gateway.service import Gateway
from gateway.settings import GatewaySettings

GENEROUS_S = 20.0


async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is true; fails after a generous while."""
    async with asyncio.timeout(GENEROUS_S):
        while not (answer := await ask()):  # noqa: ASYNC110  # Redis and sockets set no event of ours
            await asyncio.sleep(0.005)
        return answer


class FakeUnit:
    """A unit's dispatcher, one step at a time."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name

    async def register(self, **fields: str | int) -> None:
        known: dict[str, Any] = {"url": "http://127.0.0.1:1", "models": "m", "health": "ok"}
        await self.store.register(self.name, known | fields)

    async def claim(self) -> ClaimedJob:
        """The next job, however long it takes to come."""

        async def ask() -> tuple[ClaimedJob, ...]:
            claim: Claim = await self.store.claim(self.name)
            return claim.jobs

        jobs: tuple[ClaimedJob, ...] = await until(ask)
        return jobs[0]

    async def relay(self, job: ClaimedJob, **parts: bytes) -> None:
        kinds: Any = parts.items()
        relayed = tuple(Part(job.id, job.attempt, kind, content) for kind, content in kinds)
        await self.store.turn(self.name, relays=[Relay(job.gateway, relayed)])

    def head(self, job: ClaimedJob, status: int, content_type: str) -> bytes:
        fields = {"status": status, "content_type": content_type, "unit": self.name}
        return json.dumps(fields | {"queue_ms": job.queue_ms, "attempt": job.attempt}).encode()

    async def open_stream(self, job: ClaimedJob, first: bytes = b"") -> None:
        head = self.head(job, 200, "text/event-stream; charset=utf-8")
        await self.relay(job, head=head, **({"chunk": first} if first else {}))

    async def finish(
        self,
        job: ClaimedJob,
        outcome: Outcome = "ok",
        *,
        reason: str = "",
        prompt_tokens: int = 0,
        **parts: bytes,
    ) -> None:
        ended = {"outcome": outcome, "reason": reason, "prompt_tokens": prompt_tokens}
        parts["end"] = json.dumps(ended).encode()
        kinds: Any = parts.items()
        last = tuple(Part(job.id, job.attempt, kind, content) for kind, content in kinds)
        finish = Finish(
            job.id, job.attempt, job.job_class, job.gateway, outcome, reason=reason,
            prompt_tokens=prompt_tokens, parts=last,
        )  # fmt: skip
        await self.store.turn(self.name, finishes=[finish])

    async def answer(
        self,
        job: ClaimedJob,
        body: bytes,
        status: int = 200,
        content_type: str = "application/json",
        prompt_tokens: int = 0,
    ) -> None:
        """A whole answer in one batch, as for a request that is not streamed."""
        head = self.head(job, status, content_type)
        await self.finish(job, head=head, chunk=body, prompt_tokens=prompt_tokens)


@dataclass
class Bench:
    """A running gateway and what stands around it."""

    settings: GatewaySettings
    gateway: Gateway
    url: str
    client: httpx.AsyncClient
    store: Store
    views: Views
    unit: FakeUnit
    stop: asyncio.Event
    running: "asyncio.Task[None]"
    asked: list["asyncio.Task[Any]"] = field(default_factory=list)

    def post(self, body: Any = None, **options: Any) -> "asyncio.Task[httpx.Response]":
        """Ask for a chat in the background."""
        path = options.pop("path", "/v1/chat/completions")
        content = body if isinstance(body, bytes) else json.dumps(chat() if body is None else body)
        task = asyncio.create_task(self.client.post(path, content=content, **options))
        self.asked.append(task)
        return task

    def stream(self, **options: Any) -> "asyncio.Task[httpx.Response]":
        """Ask for a streamed chat; answers once the head is there."""
        content = json.dumps(chat(stream=True))
        path = "/v1/chat/completions"
        request = self.client.build_request("POST", path, content=content, **options)
        task = asyncio.create_task(self.client.send(request, stream=True))
        self.asked.append(task)
        return task

    async def cut_off(self) -> "asyncio.StreamWriter":
        """Send a request on a connection of its own, for the caller to close."""
        content = json.dumps(chat(stream=True)).encode()
        url = httpx.URL(self.url)
        _, writer = await asyncio.open_connection(url.host, url.port)
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}"
        )
        writer.write(head.encode() + b"\r\n\r\n" + content)
        return writer

    def background(self, asking: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(asking)
        self.asked.append(task)
        return task

    async def cancel_wake(self) -> tuple[str, int]:
        """The job and attempt that the unit is asked to abort next."""

        async def ask() -> list[tuple[str, int]]:
            wakes = await self.store.read_wakes("unit-1", 1)
            return [(wake.job, wake.attempt) for wake in wakes if wake.kind == "cancel"]

        cancels: list[tuple[str, int]] = await until(ask)
        return cancels[0]

    async def refuses_connections(self) -> None:
        async def refused() -> bool:
            url = httpx.URL(self.url)
            try:
                _, writer = await asyncio.open_connection(url.host, url.port)
            except ConnectionRefusedError:
                return True
            except ConnectionResetError:
                # It was still waiting to be accepted when the door closed.
                return False
            writer.close()
            return False

        await until(refused)

    async def reply_streams(self) -> int:
        reply = self.views.keys.reply(self.gateway.id)
        return int(await self.views._connection.command("EXISTS", reply))

    async def reply_length(self) -> int:
        reply = self.views.keys.reply(self.gateway.id)
        return int(await self.views._connection.command("XLEN", reply))

    @property
    def boxes(self) -> list[Mailbox]:
        return list(self.gateway._mailboxes._open.values())

    @property
    def unopened(self) -> list[Mailbox]:
        """Mailboxes of requests that were not answered yet, not even begun."""
        return [box for box in self.boxes if not box.begun]

    async def no_leaks(self) -> None:
        """Nobody waits in the gateway any more, and no job waits or runs."""

        async def settled() -> bool:
            view = await self.views.pool()
            depths = [queue.depth for queue in view.queues.values()]
            return len(self.gateway._mailboxes) == 0 and depths == [0, 0]

        await until(settled)

    async def until(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        return await until(ask)

    async def waiting_job(self) -> dict[str, str]:
        """The job of the one request that waits."""
        await self.seen(lambda: self.gateway._mailboxes._open)
        (job,) = self.gateway._mailboxes._open

        async def ask() -> dict[str, str]:
            return {"id": job} | await self.views.job(job)

        async def submitted() -> Any:
            return (await ask()).get("state")

        await until(submitted)
        return await ask()

    async def override(self, **values: str) -> None:
        pairs = [item for pair in values.items() for item in pair]
        await self.views._connection.command("HSET", self.views.keys.policy, *pairs)

    async def seen(self, fact: Callable[[], Any]) -> None:
        async def ask() -> Any:
            return fact()

        await until(ask)

    async def outcome(self, job: str) -> dict[str, str]:
        """The job, once it is finished."""

        async def ask() -> dict[str, str]:
            fields = await self.views.job(job)
            return fields if fields.get("state") == "finished" else {}

        fields: dict[str, str] = await until(ask)
        return fields


def chat(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]} | fields


@pytest.fixture
def redis_url(servers: Callable[[str], Any]) -> str:
    url: str = servers("valkey").url
    return url


@asynccontextmanager
async def running_gateway(redis_url: str, **changes: Any) -> AsyncIterator[Bench]:
    defaults: dict[str, Any] = {
        "alive_s": 60.0,
        "watch_s": 0.05,
        "trim_s": 0.05,
        "recover_s": 0.05,
        "drain_s": GENEROUS_S,
        "linger_s": 0.0,
    }
    settings = GatewaySettings(
        redis_url=redis_url, pool=f"test-{uuid.uuid4().hex}", _env_file=None, **defaults | changes
    )
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    # The unit has a connection of its own, as in life.
    theirs = Connection.from_url(redis_url)
    ours = Connection.from_url(redis_url, settings.redis_timeout_s)
    store = Store(theirs, settings)
    unit = FakeUnit(store, "unit-1")
    await unit.register()
    gateway, stop = Gateway(settings, ours, None), asyncio.Event()
    running = asyncio.create_task(gateway.run(listener, stop))
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=GENEROUS_S) as client:
        bench = Bench(
            settings, gateway, url, client, store, Views(theirs, settings), unit, stop, running
        )
        await bench.seen(lambda: gateway._watcher.live_units)
        try:
            yield bench
        finally:
            stop.set()
            for task in bench.asked:
                task.cancel()
            await asyncio.gather(*bench.asked, return_exceptions=True)
    await running
    await ours.aclose()
    await theirs.aclose()


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    async with running_gateway(redis_url) as bench:
        yield bench


@pytest.fixture
def start(redis_url: str) -> Callable[..., Any]:
    """Start a gateway with other settings, for as long as the block lasts."""

    def started(**changes: Any) -> Any:
        return running_gateway(redis_url, **changes)

    return started


@pytest.fixture
def start_at() -> Callable[..., Any]:
    """The same, on a Redis of the test's own."""
    return running_gateway
