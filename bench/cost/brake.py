"""Lets processes run for a share of the time only, so that they are the limit, nothing else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psutil

_PERIOD_S = 0.02


@asynccontextmanager
async def braked(processes: Sequence[psutil.Process], share: float) -> AsyncIterator[None]:
    """While the block runs, stop and continue them fifty times a second; a share of 1 is all."""
    if share >= 1 or not processes:
        yield
        return
    braking = asyncio.create_task(_brake(processes, share))
    try:
        yield
    finally:
        braking.cancel()
        await asyncio.wait({braking})


async def _brake(processes: Sequence[psutil.Process], share: float) -> None:
    try:
        while True:
            for process in processes:
                process.suspend()
            await asyncio.sleep(_PERIOD_S * (1 - share))
            for process in processes:
                process.resume()
            await asyncio.sleep(_PERIOD_S * share)
    finally:
        for process in processes:
            process.resume()
