"""When chunks leave: how long they wait for one another, and how many turns are under way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from common.models import ClaimedJob, Relay, Relayed, Turn
from common.store import Store
from dispatcher.forwarder import Forwarder
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJobs

NEVER_S = 3600.0
SOON_S = 0.001


class Said:
    """A store that keeps what is said, and answers when a test lets it."""

    def __init__(self) -> None:
        self.posted: list[list[bytes]] = []
        self.turned: list[list[bytes]] = []
        self.posts = True
        self.answer: Callable[[tuple[Relayed, ...] | None], None] = lambda _: None
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    def post(
        self, _: str, relays: Sequence[Relay], done: Callable[[tuple[Relayed, ...] | None], None]
    ) -> bool:
        if self.posts:
            self.posted.append(_contents(relays))
            self.answer = done
        return self.posts

    async def turn(self, unit: str, *, relays: Sequence[Relay], **_: Any) -> Turn:
        assert unit == "unit-1"
        self.turned.append(_contents(relays))
        await self.goes_on.wait()
        return Turn(tuple(Relayed(gone=False, superseded=()) for _ in relays), (), None)


def _contents(relays: Sequence[Relay]) -> list[bytes]:
    return [part.content for relay in relays for part in relay.parts if part.kind == "chunk"]


RELAYED = (Relayed(gone=False, superseded=()),)


def job_of(name: str, *, stream: bool = True) -> ClaimedJob:
    return ClaimedJob(
        id=name, job_class="short", attempt=1, why="own", submitted_ms=0, claimed_ms=0,
        deadline_ms=1, gateway="gateway-1", route="/v1/completions", stream=stream, body=b"",
    )  # fmt: skip


class Bench:
    """A forwarder with three streams under way, and one job whose answer comes in one piece."""

    def __init__(self, flush_interval_s: float) -> None:
        self.said = Said()
        self.jobs = [job_of(name) for name in ("a", "b", "c")]
        running = RunningJobs()
        for job in self.jobs:
            running.add(job).sent = True
        running.add(job_of("whole", stream=False))
        self.running = running
        self.forwarder = Forwarder(
            cast("Store", self.said),
            "unit-1",
            running,
            Metrics("default", "unit-1", CollectorRegistry()),
            flush_interval_s,
        )
        self.task = asyncio.create_task(self.forwarder.run(lambda: None))

    def put(self, *names: str, content: bytes = b"") -> None:
        jobs = {job.id: job for job in self.jobs}
        for name in names:
            self.forwarder.put(jobs[name], "chunk", content or name.encode())


@pytest.fixture
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    made = Bench(getattr(request, "param", NEVER_S))
    yield made
    made.task.cancel()
    await asyncio.wait([made.task])


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not fact():  # noqa: ASYNC110  # polls a fact of another task
            await asyncio.sleep(0.001)


async def test_a_step_leaves_as_soon_as_each_stream_has_its_chunk(bench: Bench) -> None:
    bench.put("a", "b", "a")
    assert bench.said.posted == []
    bench.put("c")
    assert bench.said.posted == [[b"aa", b"b", b"c"]]


async def test_streams_that_have_ended_are_not_waited_for(bench: Bench) -> None:
    for running in bench.running.all():
        running.ended = running.job.id == "c"
    bench.put("a", "b")
    assert bench.said.posted == [[b"a", b"b"]]


@pytest.mark.parametrize("bench", [SOON_S], indirect=True)
async def test_an_incomplete_step_leaves_after_the_flush_interval(bench: Bench) -> None:
    bench.put("a", "b")
    assert bench.said.posted == []
    await until(lambda: bench.said.posted == [[b"a", b"b"]])


async def test_steps_closer_than_the_flush_interval_travel_together(bench: Bench) -> None:
    bench.put("a", "b", "c")
    bench.said.answer(RELAYED)
    bench.put("a", "b", "c")
    bench.put("a", "b", "c")
    assert bench.said.posted == [[b"a", b"b", b"c"]]


@pytest.mark.parametrize("bench", [0.0], indirect=True)
async def test_only_one_batch_is_under_way(bench: Bench) -> None:
    bench.put("a", "b", "c")
    assert bench.said.posted == [[b"a"]]
    assert not bench.forwarder.sent_all.is_set()
    bench.said.answer(RELAYED)
    assert bench.said.posted == [[b"a"], [b"b", b"c"]]
    bench.said.answer(RELAYED)
    assert bench.forwarder.sent_all.is_set()


@pytest.mark.parametrize("bench", [0.0], indirect=True)
async def test_a_turn_waits_for_the_batch_under_way_and_a_batch_for_the_turn(bench: Bench) -> None:
    bench.said.goes_on.clear()
    bench.put("a")
    bench.forwarder.put(bench.jobs[1], "head", b"{}")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.said.turned == []
    bench.said.answer(RELAYED)
    await until(lambda: bench.said.turned == [[]])
    bench.put("b")
    await asyncio.sleep(0)
    assert bench.said.posted == [[b"a"]]
    bench.said.goes_on.set()
    await until(lambda: bench.said.turned == [[], [b"b"]])


@pytest.mark.parametrize("bench", [0.0], indirect=True)
async def test_a_batch_that_redis_did_not_take_goes_again_before_all_else(bench: Bench) -> None:
    bench.put("a", "b")
    bench.said.answer(None)
    await until(lambda: bench.said.turned == [[b"a", b"b"]])
    await until(bench.forwarder.sent_all.is_set)


@pytest.mark.parametrize("bench", [0.0], indirect=True)
async def test_without_a_ready_pipe_a_batch_goes_with_a_turn(bench: Bench) -> None:
    bench.said.posts = False
    bench.put("a")
    await until(lambda: bench.said.turned == [[b"a"]])


async def test_a_superseded_stream_is_aborted_by_the_answer_to_its_batch(bench: Bench) -> None:
    bench.put("a", "b", "c")
    bench.said.answer((Relayed(gone=False, superseded=("b",)),))
    reasons = {running.job.id: running.abort_reason for running in bench.running.all()}
    assert reasons == {"a": None, "b": "superseded", "c": None, "whole": None}
