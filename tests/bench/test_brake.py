"""Processes that are held to a share of a core."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from bench.cost.brake import braked

WITHIN_S = 30.0


@pytest.fixture
def busy() -> Iterator[psutil.Process]:
    """A process that uses all that it gets."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not fact():  # noqa: ASYNC110  # the kernel sets no event
            await asyncio.sleep(0.01)


async def test_a_process_uses_its_share_and_goes_on_afterwards(busy: psutil.Process) -> None:
    async with braked([busy], 0.2):
        await until(lambda: stopped(busy))
        begun_s, used_s = time.monotonic(), used(busy)
        await until(lambda: used(busy) >= used_s + 0.2)
        took_s = time.monotonic() - begun_s
    # A fifth of the time, where all of it would be a fifth as long; the kernel counts coarsely.
    assert took_s > 0.7
    await until(lambda: not stopped(busy))
    used_s = used(busy)
    await until(lambda: used(busy) > used_s + 0.2)
    assert not stopped(busy)


async def test_nothing_stands_still_once_who_asked_for_it_is_gone(busy: psutil.Process) -> None:
    brake = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.cost.brake", "--share", "0.05", str(busy.pid)),
        stdin=asyncio.subprocess.PIPE,
    )
    await until(lambda: stopped(busy))
    assert brake.stdin
    brake.stdin.close()
    assert await brake.wait() == 0
    await until(lambda: not stopped(busy))


async def test_with_all_of_a_core_nothing_is_stopped(busy: psutil.Process) -> None:
    async with braked([busy], 1.0):
        assert psutil.Process().children() == [busy]


def stopped(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


def used(process: psutil.Process) -> float:
    return float(process.cpu_times().user)
