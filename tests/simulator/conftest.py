"""Simulated units as real processes on ports of their own, and what tests ask of them."""

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

MODEL = "simulated-llama-3-70b"
LIMIT_S = 20.0


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Polls a fact of another process, for nothing tells when it comes true."""
    async with asyncio.timeout(LIMIT_S):
        while not await holds():  # noqa: ASYNC110 - no event of ours could be set from there
            await asyncio.sleep(0.01)


def summed(page: str, name: str, **labels: str) -> float:
    """The sum of the samples of that name which carry these labels."""
    found = [
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert found, f"no sample of {name} with {labels}"
    return sum(found)


@dataclasses.dataclass(frozen=True)
class RunningUnit:
    """A simulator process that answers at `url`."""

    url: str
    process: subprocess.Popen[str]

    async def post(self, path: str, body: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=LIMIT_S) as client:
            return await client.post(path, json=body)

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=LIMIT_S) as client:
            return await client.get(path)

    async def set_fault(self, **rule: Any) -> None:
        (await self.post("/simulator/faults", rule)).raise_for_status()

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name which carry these labels."""
        return summed((await self.get("/metrics")).text, name, **labels)

    async def until_metric(self, wanted: float, name: str, **labels: str) -> None:
        async def holds() -> bool:
            return await self.metric(name, **labels) == wanted

        await until(holds)

    async def until_healthy(self) -> None:
        async def holds() -> bool:
            try:
                return (await self.get("/health")).status_code == httpx.codes.OK
            except httpx.ConnectError:
                return False

        await until(holds)


StartUnit = Callable[..., RunningUnit]


@pytest.fixture(scope="module")
def start_unit() -> Iterator[StartUnit]:
    """Starts a unit with these flags on a free port; all of them end with the test module."""
    processes: list[subprocess.Popen[str]] = []

    def start(*flags: str) -> RunningUnit:
        process = subprocess.Popen(
            [sys.executable, "-m", "simulator", "--port", "0", *flags],
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split(" on ")[1].split(",")[0]
        return RunningUnit(url, process)

    yield start
    for process in processes:
        process.terminate()
        process.communicate(timeout=LIMIT_S)


@pytest.fixture(scope="module")
def unit(start_unit: StartUnit) -> RunningUnit:
    """One unit for the tests of a module, twenty times faster than life."""
    return start_unit("--speed", "20")


@pytest.fixture
async def client(unit: RunningUnit) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, without its retries."""
    async with openai.AsyncOpenAI(
        base_url=f"{unit.url}/v1", api_key="none", max_retries=0, timeout=LIMIT_S
    ) as made:
        yield made
