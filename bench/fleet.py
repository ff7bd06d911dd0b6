"""Starts the programs of one system, waits until they can serve, and stops them in order."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bench.client import ServerError
from cli.child import Child, ending
from cli.program import Program

_PROBE_EVERY_S = 0.1
_READY_WITHIN_S = 90.0
_STOPPED_WITHIN_S = 60.0
_TIMEOUT = aiohttp.ClientTimeout(total=5)


@asynccontextmanager
async def running(
    groups: Sequence[Sequence[Program]], settings: Mapping[str, str], logs: Path
) -> AsyncIterator[dict[str, int]]:
    """Start one group after the other, each when the one before is ready; stop them backwards.

    Gives the process id of each, by the program's name.

    Of the settings around only these hold: a comparison is the same wherever it is run. Raises
    ServerError when a program does not become ready.
    """
    around = {key: value for key, value in os.environ.items() if not key.startswith("ADASPLIT_")}
    environment = around | dict(settings) | {"PYTHONUNBUFFERED": "1"}
    children = [[Child(program, logs, environment) for program in group] for group in groups]
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            for group in children:
                await asyncio.gather(*(child.start() for child in group))
                await asyncio.gather(*(_until_ready(session, child) for child in group))
        yield {child.program.name: child.pid or 0 for group in children for child in group}
    finally:
        for group in reversed(children):
            await asyncio.gather(*(_stop(child) for child in group))


async def until_all_live(session: aiohttp.ClientSession, url: str, units: int) -> None:
    """Wait until a gateway's state shows so many living units. Raises ServerError."""
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            # A gateway sees its units when their first heartbeats have come; nothing says when.
            while await _living(session, url) < units:  # noqa: ASYNC110
                await asyncio.sleep(_PROBE_EVERY_S)
    except TimeoutError:
        raise ServerError(f"{url} does not see {units} living units") from None


async def _living(session: aiohttp.ClientSession, url: str) -> int:
    try:
        async with session.get(f"{url}/v1/state", timeout=_TIMEOUT) as answer:
            state: Any = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return 0
    return sum(bool(unit.get("alive")) for unit in state.get("units", {}).values())


async def _until_ready(session: aiohttp.ClientSession, child: Child) -> None:
    name = child.program.name
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            while not await _answers(session, child.program.ready_url):
                if not child.running:
                    said = "".join(child.tail(1)) or "it said nothing"
                    raise ServerError(f"{name} {ending(await child.wait())}: {said}")
                await asyncio.sleep(_PROBE_EVERY_S)
    except TimeoutError:
        raise ServerError(f"{name} is not ready; its log is {child.log}") from None


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.ok
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _stop(child: Child) -> None:
    child.terminate()
    try:
        async with asyncio.timeout(_STOPPED_WITHIN_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
