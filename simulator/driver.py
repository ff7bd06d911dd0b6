"""Runs the engine on the real clock, `speed` times faster than the cost model says."""

import asyncio
from typing import Protocol

from simulator.costs import CostModel
from simulator.engine import Engine, Sequence, State
from simulator.metrics import Metrics

_RESYNC_S = 0.25
"""Lag of this process behind its own schedule that is made good; beyond it, time is lost."""


class Owner(Protocol):
    """Whoever waits for a sequence's tokens."""

    finish_reason: str

    def token_written(self, sequence: Sequence) -> None: ...


class Driver:
    """Steps the engine while there is work; `now_s` is simulated seconds since the start."""

    def __init__(self, engine: Engine, costs: CostModel, metrics: Metrics, *, speed: float) -> None:
        self._engine = engine
        self._costs = costs
        self._metrics = metrics
        self._speed = speed
        self._work = asyncio.Event()
        self._frozen_until_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._origin_s = self._loop.time()

    @property
    def now_s(self) -> float:
        return (self._loop.time() - self._origin_s) * self._speed

    async def pause(self, seconds: float) -> None:
        """Simulated seconds."""
        await asyncio.sleep(seconds / self._speed)

    def submit(self, sequence: Sequence) -> None:
        self._engine.add(sequence, self.now_s)
        self._work.set()

    def abort(self, sequence: Sequence) -> None:
        """Frees what the sequence holds, now; nothing happens when it has ended.

        No metric counts it: vLLM has a label for it and never counts there (its issues 31503 and
        55634), nor does an aborted request enter any histogram of requests.
        """
        self._engine.abort(sequence)

    def freeze(self, seconds: float) -> None:
        """No step ends for so long, as on a GPU that hangs; HTTP goes on answering."""
        self._frozen_until_s = self.now_s + seconds

    async def run(self) -> None:
        """For ever; cancel it."""
        while True:
            await self._work.wait()
            self._work.clear()
            await self.pause(self._costs.calibration.frontend_s)
            await self._run_until_idle()

    async def _run_until_idle(self) -> None:
        at_s = self.now_s
        while not self._engine.idle:
            step = self._engine.schedule(at_s)
            at_s = await self._reach(at_s + self._costs.step_s(step.load))
            emitted = self._engine.complete(step, at_s)
            self._metrics.stepped(step, emitted)
            for sequence in emitted:
                self._deliver(sequence, at_s)

    def _deliver(self, sequence: Sequence, at_s: float) -> None:
        owner: Owner = sequence.owner
        owner.token_written(sequence)
        if sequence.state is State.FINISHED:
            self._metrics.ended(sequence, owner.finish_reason, at_s)

    async def _reach(self, at_s: float) -> float:
        """Sleeps until then and returns when the step counts as ended.

        That is `at_s` even when this process comes a little late, so that small lags do not add
        up; a long one moves the schedule.
        """
        at_s = max(at_s, self._frozen_until_s)
        await asyncio.sleep(max(0.0, (at_s - self.now_s) / self._speed))
        if at_s < self._frozen_until_s:
            return await self._reach(self._frozen_until_s)
        late_s = (self.now_s - at_s) / self._speed
        return self.now_s if late_s > _RESYNC_S else at_s
