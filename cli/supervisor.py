"""Starts the programs in order, starts again those that die, and stops all in order."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from cli.child import Child, ending
from cli.program import START_ORDER, STOP_ORDER, Program, Stage
from common.duty import Backoff, sleep_or_stop

_PROBE_EVERY_S = 0.2
_READY_WITHIN_S = 60.0
_STARTS_TRIED = 3
_BAD_SETTINGS = 2

Coro = Coroutine[Any, Any, Any]
Ready = Callable[[Program], Awaitable[bool]]


class Supervisor:
    """Owns the child processes.

    `stop` is set from outside, or here when a program cannot be started: then `failure` says why.
    `hurry` ends all of them at once. `came_up` is called whenever one is ready.
    """

    def __init__(
        self,
        children: Sequence[Child],
        ready: Ready,
        say: Callable[[str], None],
        came_up: Callable[[], None],
        stop: asyncio.Event,
        hurry: asyncio.Event,
        stopped_within_s: float,
    ) -> None:
        self.failure: str | None = None
        self._children = children
        self._ready = ready
        self._say = say
        self._came_up = came_up
        self._stop = stop
        self._hurry = hurry
        self._stopped_within_s = stopped_within_s
        self._keeping: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start all; returns when they are ready, when `stop` is set, or after a minute."""
        for stages in START_ORDER:
            children = list(self._of(stages))
            self._keeping += [asyncio.create_task(self._keep(child)) for child in children]
            ready = [child.ready.wait() for child in children]
            await _all_or(self._stop, ready, _READY_WITHIN_S)
            if self._stop.is_set():
                return
        late = [child.program.name for child in self._children if not child.ready.is_set()]
        if late:
            self._say(f"not ready yet, going on: {', '.join(late)}")

    async def finish(self) -> None:
        """Stop all in order. Whoever takes too long, or all when somebody hurries, is killed."""
        for stage in STOP_ORDER:
            children = list(self._of([stage]))
            if any(child.running for child in children):
                self._say(f"stopping {stage}")
            for child in children:
                child.stopping.set()
                child.terminate()
            await self._gone(children)
        await asyncio.gather(*self._keeping)

    def _of(self, stages: Iterable[Stage]) -> Iterable[Child]:
        return (child for child in self._children if child.program.stage in set(stages))

    async def _keep(self, child: Child) -> None:
        backoff, failures = Backoff(first_s=0.2, longest_s=10.0), 0
        while not child.stopping.is_set():
            await child.start()
            if child.stopping.is_set():
                # While it started there was nothing yet that `finish` could end.
                child.kill()
                await child.wait()
                return
            if await self._until_ready(child):
                backoff.succeeded()
                failures = 0
            else:
                failures += 1
            code = await child.wait()
            child.ready.clear()
            if child.stopping.is_set():
                return
            if failures == _STARTS_TRIED or (failures and code == _BAD_SETTINGS):
                self._give_up(child, code)
                return
            wait_s = backoff.failed()
            self._say(_obituary(child, code, wait_s))
            await sleep_or_stop(child.stopping, wait_s)

    async def _until_ready(self, child: Child) -> bool:
        """Whether it became ready; False when it ended before."""
        gone = asyncio.ensure_future(child.wait())
        while not gone.done():
            # A program of the same kind that runs already may answer on a shared port for this one,
            # so the answer counts only while this one runs.
            if await self._ready(child.program) and child.running:
                gone.cancel()
                child.ready.set()
                self._came_up()
                return True
            await asyncio.wait({gone}, timeout=_PROBE_EVERY_S)
        return False

    def _give_up(self, child: Child, code: int) -> None:
        last = "".join(child.tail(1)) or "it said nothing"
        self.failure = f"{child.program.name} does not start, it {ending(code)}: {last}"
        self._stop.set()

    async def _gone(self, children: Sequence[Child]) -> None:
        await _all_or(self._hurry, [child.wait() for child in children], self._stopped_within_s)
        for child in children:
            child.kill()
        await asyncio.gather(*(child.wait() for child in children))


async def _all_or(event: asyncio.Event, waits: Iterable[Coro], limit_s: float) -> None:
    """Wait until all of them are over, or the event is set, or the time is up."""

    async def everything() -> None:
        await asyncio.gather(*waits)

    either = {asyncio.create_task(everything()), asyncio.create_task(event.wait())}
    await asyncio.wait(either, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
    for task in either:
        task.cancel()


def _obituary(child: Child, code: int, wait_s: float) -> str:
    first = f"{child.program.name} {ending(code)}; starting it again in {wait_s:.1f} s"
    return "\n".join([first, *(f"  | {line}" for line in child.tail())])
