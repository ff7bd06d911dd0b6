"""`adasplit bench fairness`: how long one key's request waits behind another key's crowd."""

import asyncio
import resource
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import aiohttp
import orjson
import typer
import uvloop
from rich.console import Console

from bench.client import JSON_HEADERS, ServerError
from bench.command import failures_in_one_line, write_json
from bench.options import Out

FORMAT_VERSION = 1
_ROUTE = "/v1/chat/completions"
_HTTP_OK = 200
_LOOK_S = 0.25
_MAY_BE_REFUSED = 0.01
_SOME = 200
"""How many of the crowd come at a time."""

_CALM_S = 30.0
"""For how long the queue may stand still before the crowd counts as refused."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the gateway tells of a job that was answered; times are Redis's clock."""

    job: str
    submitted_ms: int
    claimed_ms: int

    @property
    def wait_s(self) -> float:
        return (self.claimed_ms - self.submitted_ms) / 1000


class Crowd:
    """Requests of one key, all open at once; keeps the ids of those that were answered."""

    def __init__(self, session: aiohttp.ClientSession, key: str, body: bytes) -> None:
        self.answered: list[str] = []
        self.refused = 0
        self._session = session
        self._headers = JSON_HEADERS | {"authorization": f"Bearer {key}"}
        self._body = body
        self._asked: list[asyncio.Task[str | None]] = []

    @property
    def settled(self) -> int:
        return len(self.answered) + self.refused

    def ask(self, count: int) -> None:
        self._asked += [asyncio.create_task(self.one()) for _ in range(count)]

    async def one(self) -> str | None:
        """One request; answers its job, None when it was refused."""
        async with self._session.post(_ROUTE, data=self._body, headers=self._headers) as answer:
            await answer.read()
            job = answer.headers.get("x-adasplit-job")
            if answer.status != _HTTP_OK or job is None:
                self.refused += 1
                return None
            self.answered.append(job)
            return job

    async def tell(self, job: str) -> Answered:
        async with self._session.get(f"/v1/jobs/{job}", headers=self._headers) as answer:
            times = orjson.loads(await answer.read())["times_ms"]
        return Answered(job, times["submitted"], times["claimed"])

    async def leave(self) -> None:
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)


async def measure(
    url: str, keys: tuple[str, str], model: str, *, crowd: int, ones: int, output_tokens: int
) -> dict[str, Any]:
    """Let one key queue a crowd, then ask with the other. Raises ServerError."""
    body = orjson.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": "Tell me a story."}],
            "max_tokens": output_tokens,
            "ignore_eos": True,
        }
    )
    started_at = datetime.now(UTC)
    async with aiohttp.ClientSession(
        url,
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        many, few = (Crowd(session, key, body) for key in keys)
        try:
            depth = await _gather(session, many, keys[0], crowd)
            waits = [await _one(many, few) for _ in range(ones)]
        finally:
            await many.leave()
    return {
        "bench": "fairness",
        "format": FORMAT_VERSION,
        "started_at": started_at.isoformat(),
        "arguments": {"crowd": crowd, "ones": ones, "output_tokens": output_tokens},
        "depth_before_the_first": depth,
        "ones": waits,
    }


async def _gather(session: aiohttp.ClientSession, crowd: Crowd, key: str, count: int) -> int:
    """Let the crowd come as fast as it is let in; answers the queue's depth then."""
    asked, depth, seen, moved_s = 0, 0, -1, time.monotonic()
    while asked < count or depth + crowd.settled + _SOME < asked:
        if depth + crowd.settled + _SOME >= asked:
            crowd.ask(min(_SOME, count - asked))
            asked += min(_SOME, count - asked)
        await asyncio.sleep(_LOOK_S)
        depth = await _depth(session, key)
        if crowd.refused > count * _MAY_BE_REFUSED:
            raise ServerError(
                f"{crowd.refused} requests of the crowd were refused: see max_queue_depth_short"
            )
        if depth != seen:
            seen, moved_s = depth, time.monotonic()
        elif time.monotonic() - moved_s > _CALM_S:
            raise ServerError(f"the crowd comes no further than {depth} waiting requests")
    return depth


async def _depth(session: aiohttp.ClientSession, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    async with session.get("/v1/state", headers=headers) as answer:
        if answer.status != _HTTP_OK:
            raise ServerError(f"/v1/state says {answer.status}")
        depth: int = orjson.loads(await answer.read())["queues"]["short"]["depth"]
        return depth


async def _one(many: Crowd, few: Crowd) -> dict[str, Any]:
    before = len(many.answered)
    job = await few.one()
    if job is None:
        raise ServerError("the one request was refused")
    one = await few.tell(job)
    # Who was claimed before the one is answered soon after it; each of the crowd is asked for.
    enough = len(many.answered) + 64
    async with asyncio.timeout(_CALM_S):
        while len(many.answered) < enough:  # noqa: ASYNC110  # answers set no event
            await asyncio.sleep(_LOOK_S / 10)
    told = [await many.tell(other) for other in many.answered[before:]]
    first = [other for other in told if one.submitted_ms < other.claimed_ms < one.claimed_ms]
    same = [other for other in told if other.claimed_ms == one.claimed_ms]
    return asdict(one) | {
        "wait_s": one.wait_s,
        "jobs_before": len(first),
        "jobs_in_the_same_ms": len(same),
        "crowd_wait_s": max((other.wait_s for other in told), default=None),
    }


def command(
    *,
    url: Annotated[str, typer.Option(help="A gateway.")] = "http://127.0.0.1:8000",
    crowd_key: Annotated[str, typer.Option(help="The API key of the many.")],
    one_key: Annotated[str, typer.Option(help="The API key of the one.")],
    model: Annotated[str, typer.Option()] = "simulated-llama-3-70b",
    crowd: Annotated[int, typer.Option(min=100, help="Requests that one key queues.")] = 10_000,
    ones: Annotated[int, typer.Option(min=1, help="Requests of the other, in turn.")] = 10,
    output_tokens: Annotated[int, typer.Option(min=1)] = 100,
    out: Out = None,
) -> None:
    """Queue a crowd with one API key, and see how long another key's requests wait."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with failures_in_one_line():
        result = uvloop.run(
            measure(
                url,
                (crowd_key, one_key),
                model,
                crowd=crowd,
                ones=ones,
                output_tokens=output_tokens,
            )
        )
    if out:
        write_json(out, result)
    console = Console()
    console.print(f"{result['depth_before_the_first']:,} requests of the crowd waited")
    for one in result["ones"]:
        console.print(
            f"the one waited {one['wait_s']:.3f} s, {one['jobs_before']} jobs went before it;"
            f" the crowd's that came with it had waited {one['crowd_wait_s'] or 0:.1f} s"
        )
