"""Starting and stopping at the same moment."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.child import Child
from cli.program import Program
from cli.supervisor import Supervisor

LIMIT_S = 30.0
SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")


class SlowlyStarting(Child):
    """A program whose start takes until `go_on`, and that knows when it was to be killed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Program("sleeper", "redis", SLEEPS), folder, os.environ)
        self.starts = asyncio.Event()
        self.go_on = asyncio.Event()
        self.killed = asyncio.Event()

    async def start(self) -> None:
        self.starts.set()
        await self.go_on.wait()
        await super().start()

    def kill(self) -> None:
        self.killed.set()
        super().kill()


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[SlowlyStarting]:
    one = SlowlyStarting(tmp_path)
    yield one
    one.kill()
    await one.wait()


async def never_ready(_: Program) -> bool:
    return False


async def test_a_stop_during_a_start_leaves_nothing_behind(child: SlowlyStarting) -> None:
    stop = asyncio.Event()
    supervisor = Supervisor(
        [child], never_ready, lambda _: None, lambda: None, stop, asyncio.Event(), LIMIT_S
    )
    async with asyncio.timeout(LIMIT_S):
        starting = asyncio.create_task(supervisor.start())
        await child.starts.wait()
        stop.set()
        await starting
        finishing = asyncio.create_task(supervisor.finish())
        # Whatever it does to end the program, it has done before there is one.
        await child.killed.wait()
        child.go_on.set()
        await finishing
    assert not child.running
