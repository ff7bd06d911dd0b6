"""A closed loop: each of so many clients sends its next request when its last is answered."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.client import Client
from bench.openloop import RunClock
from bench.rows import Order, Row
from bench.stats import spread

WARM_UP_REQUESTS = 1
"""Whole requests of each client that are not counted, after a first one of random length."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What all requests of one class look like."""

    size_class: str
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Point:
    """What one concurrency gave in one repeat; times in seconds of life.

    `failure` names the first request that did not end well; then nothing else is known.
    """

    size_class: str
    concurrency: int
    repeat: int
    requests: int = 0
    requests_per_s: float | None = None
    output_tokens_per_s: float | None = None
    ttft_s: dict[str, float | None] = field(default_factory=dict)
    tpot_s: dict[str, float | None] = field(default_factory=dict)
    e2e_s: dict[str, float | None] = field(default_factory=dict)
    prompt_tokens: int | None = None
    failure: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class RequestFailedError(Exception):
    """A request of the loop did not end well."""


class ClosedLoop:
    """One measurement. The rate is the sum of the clients' own, each over whole requests.

    So it needs no window in which requests would be cut off. Each client begins with a request of
    random length, so that they do not go in step; then come its warm-up, then what is counted; and
    it goes on, not counted, until the last client has been counted too.
    """

    def __init__(
        self, client: Client, clock: RunClock, url: str, shape: Shape, first_index: int
    ) -> None:
        self._client = client
        self._clock = clock
        self._url = url
        self._shape = shape
        self._next_index = first_index
        self._dice = random.Random(first_index)
        self._counted: list[Row] = []
        self._rates: list[float] = []
        self._over = asyncio.Event()

    @property
    def next_index(self) -> int:
        """The index after the last that was used: no two prompts of a run are the same."""
        return self._next_index

    async def run(self, concurrency: int, per_client: int, repeat: int) -> Point:
        shape, failure = self._shape, ""
        try:
            async with asyncio.TaskGroup() as group:
                clients = [
                    group.create_task(self._one_client(concurrency, per_client))
                    for _ in range(concurrency)
                ]
                await self._over.wait()
                for client in clients:
                    client.cancel()
        except* RequestFailedError as failures:
            failure = str(failures.exceptions[0])
        if failure:
            return Point(shape.size_class, concurrency, repeat, failure=failure)
        rate = sum(self._rates)
        return Point(
            size_class=shape.size_class,
            concurrency=concurrency,
            repeat=repeat,
            requests=len(self._counted),
            requests_per_s=rate,
            output_tokens_per_s=rate * shape.output_tokens,
            ttft_s=self._spread(lambda row: row.ttft_s),
            tpot_s=self._spread(lambda row: row.tpot_s),
            e2e_s=self._spread(lambda row: row.e2e_s),
            prompt_tokens=self._counted[0].prompt_tokens,
        )

    async def _one_client(self, clients: int, per_client: int) -> None:
        await self._send(self._dice.randint(1, self._shape.output_tokens))
        for _ in range(WARM_UP_REQUESTS):
            await self._send(self._shape.output_tokens)
        begin_s = self._clock()
        counted = [await self._send(self._shape.output_tokens) for _ in range(per_client)]
        self._rates.append(per_client / (self._clock() - begin_s))
        self._counted += counted
        if len(self._rates) == clients:
            self._over.set()
        while not self._over.is_set():
            await self._send(self._shape.output_tokens)

    async def _send(self, output_tokens: int) -> Row:
        order = Order(
            index=self._next_index,
            source="closed loop",
            size_class=self._shape.size_class,
            url=self._url,
            intended_s=self._clock(),
            prompt_tokens=self._shape.prompt_tokens,
            output_tokens=output_tokens,
        )
        self._next_index += 1
        row = Row(order)
        await self._client.send(row)
        if not row.ok:
            raise RequestFailedError(str(row.outcome))
        return row

    def _spread(self, time: Callable[[Row], float | None]) -> dict[str, float | None]:
        return spread(map(time, self._counted))
