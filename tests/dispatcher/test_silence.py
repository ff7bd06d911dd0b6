"""When a stream counts as silent: to the point, on a clock that jumps from event to event."""

import asyncio
import selectors
from collections.abc import Sequence
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from common.models import ClaimedJob, Finish
from dispatcher.caller import Caller
from dispatcher.health import UnitHealth
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJobs
from dispatcher.settings import DispatcherSettings
from dispatcher.watch import Watch
from dispatcher.wire import Receiver
from tests.dispatcher.scripted import DONE, event

LIMIT_S = 1.0
JOB = ClaimedJob(
    id="job-1",
    job_class="short",
    attempt=1,
    why="own",
    submitted_ms=0,
    claimed_ms=0,
    deadline_ms=3_600_000,
    gateway="gateway-1",
    route="/v1/completions",
    stream=True,
    body=b"{}",
)


class Jumping(selectors.SelectSelector):
    """Goes to the time that it is to wait for."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now_s += max(0.0, timeout or 0.0)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """Runs on the time of its selector."""

    def __init__(self) -> None:
        self._jumping = Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class PacedUnit:
    """Streams a chunk after each pause, then `[DONE]`; or hangs after the last chunk."""

    def __init__(self, pauses_s: Sequence[float], *, hangs: bool) -> None:
        self._pauses_s = pauses_s
        self._hangs = hangs

    async def post(self, _: ClaimedJob, receiver: Receiver, watch: Watch, __: str = "") -> None:
        over = asyncio.get_running_loop().create_future()
        watch.start(over.set_exception)
        pacing = asyncio.create_task(self._answer(receiver, over))
        try:
            await over
        finally:
            pacing.cancel()
            watch.stop()

    async def _answer(self, receiver: Receiver, over: asyncio.Future[None]) -> None:
        receiver.head(200, "text/event-stream")
        for pause_s in self._pauses_s:
            await asyncio.sleep(pause_s)  # on the clock that jumps
            receiver.body(event("x"))
        if not self._hangs:
            receiver.body(DONE)
            over.set_result(None)


class Forwarder:
    """Keeps the outcome, and when it came."""

    def __init__(self) -> None:
        self.outcome = ""
        self.ended_s = 0.0

    def put(self, *_: object) -> None:
        """What is relayed on the way does not matter here."""

    def finish(self, finish: Finish) -> None:
        self.outcome = finish.outcome
        self.ended_s = asyncio.get_running_loop().time()


def streamed(unit: PacedUnit) -> Forwarder:
    """What a dispatcher makes of this unit's stream."""
    settings = DispatcherSettings(
        _env_file=None, first_byte_timeout_s=LIMIT_S, between_chunk_timeout_s=LIMIT_S
    )
    forwarder = Forwarder()
    caller = Caller(
        cast("Any", unit),
        cast("Any", None),
        cast("Any", forwarder),
        RunningJobs(),
        UnitHealth(1.0),
        Metrics("test", "a", CollectorRegistry()),
        settings,
    )

    async def attempt() -> None:
        running = caller.start(JOB)
        assert running.task
        await running.task

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(attempt())
    return forwarder


@pytest.mark.parametrize(
    "pauses_s",
    [
        [0.0, 0.45, 0.65],
        [0.9, 0.9],
        [0.0] + [0.01, 0.99] * 20,
        [0.99] * 50,
        [0.01] * 500 + [0.99],
    ],
)
def test_a_slow_stream_is_not_taken_for_a_silent_one(pauses_s: list[float]) -> None:
    found = streamed(PacedUnit(pauses_s, hangs=False))
    assert found.outcome == "ok"
    assert found.ended_s == pytest.approx(sum(pauses_s))


@pytest.mark.parametrize(
    "pauses_s", [[0.0], [0.9], [0.0, 0.1], [0.0, 0.24], [0.0, 0.26], [0.5, 0.6], [0.3] * 20]
)
def test_a_stream_that_falls_silent_fails_soon_after_its_limit(pauses_s: list[float]) -> None:
    found = streamed(PacedUnit(pauses_s, hangs=True))
    assert found.outcome == "failed"
    silent_s = found.ended_s - sum(pauses_s)
    assert silent_s == pytest.approx(LIMIT_S)
