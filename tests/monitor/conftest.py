"""Units and a pool that say what a test wants, behind the monitor's own HTTP client."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.watcher import State, StateUnknownError, Watcher

REAL_PAGE = Path(__file__).with_name("vllm-0.32.metrics.txt")
"""What a real vLLM 0.32.0 said after seven requests, five of which were aborted."""


def page(running: int = 0, generated: int = 0, *, made_s: float | None = 1.0) -> str:
    lines = [
        f'vllm:num_requests_running{{engine="0"}} {running}',
        f'vllm:generation_tokens_total{{engine="0"}} {generated}',
    ]
    if made_s is not None:
        lines.append(f'vllm:generation_tokens_created{{engine="0"}} {made_s}')
    return "\n".join(lines)


@dataclass
class World:
    """Pages by host, an answer of which is a text, a status, or an exception; and the state."""

    pages: dict[str, str | int | Exception] = field(default_factory=dict)
    state: State | Exception = field(default_factory=dict)

    async def ask_state(self) -> State:
        if isinstance(self.state, Exception):
            raise self.state
        return self.state

    def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/metrics"
        said = self.pages[request.url.host]
        if isinstance(said, Exception):
            raise said
        return httpx.Response(said) if isinstance(said, int) else httpx.Response(200, text=said)

    def is_unknown(self) -> None:
        self.state = StateUnknownError("no gateway here")


def state_of(*units: str, **more: Any) -> State:
    """A pool of these units, each at http://NAME, Short and alive, with one short job."""
    unit = {
        "role": "short",
        "alive": True,
        "draining": False,
        "active": {"short": 1, "long": 0},
        "limits": {"short": 8, "long": 8},
    }
    return {
        "units": {name: {**unit, "url": f"http://{name}", **more} for name in units},
        "queues": {"short": {"depth": 0, "oldest_s": None}, "long": {"depth": 3, "oldest_s": 1.5}},
    }


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def watch(world: World) -> AsyncIterator[Callable[..., Watcher]]:
    """Make a watcher of the world, with units given by hand."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(world.answer)) as client:
        yield lambda **given: Watcher(client, world.ask_state, given, window_s=10.0)
