"""What can happen to Redis, and the record of a fault."""

import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from redis.asyncio import Redis

from tests.chaos.fleet import Fleet

_LOADS_S = 4.0
_BYTES_A_COMMAND = 100
"""About as long are the commands in its file: with them a load takes some seconds."""


@dataclass
class Fault:
    """One fault. `ended_at`: when its cause was gone; `held`: jobs that it hit; wall clock."""

    kind: str
    target: str
    begun_at: float
    ended_at: float = 0.0
    back_at: float = 0.0
    held: list[str] = field(default_factory=list)
    recovered_s: list[float] = field(default_factory=list)


class RedisFaults:
    """The ways to hurt Redis. Each method is one kind, and waits until its cause is gone."""

    def __init__(
        self,
        fleet: Fleet,
        rng: random.Random,
        pause: Callable[[float, float], Awaitable[None]],
    ) -> None:
        self._fleet = fleet
        self._rng = rng
        self._pause = pause

    async def killed(self, fault: Fault) -> None:
        fault.target = "redis"
        await self._fleet.redis.kill()
        await self._pause(0.1, 8)
        await self._started(fault)

    async def away_for_a_minute(self, fault: Fault) -> None:
        """Longer than any lease, and than a gateway may be silent."""
        fault.target = "redis"
        await self._fleet.redis.kill()
        await self._pause(60, 62)
        await self._started(fault)

    async def emptied(self, fault: Fault) -> None:
        fault.target = "redis"
        await self._fleet.redis.kill()
        await self._fleet.empty_redis()
        await self._pause(0.1, 3)
        await self._started(fault)

    async def _started(self, fault: Fault) -> None:
        self._fleet.redis.start()
        fault.back_at = await self._fleet.redis_back()

    async def frozen(self, fault: Fault) -> None:
        fault.target = "redis"
        self._fleet.redis.signal(signal.SIGSTOP)
        await self._pause(0.5, 12)
        self._fleet.redis.signal(signal.SIGCONT)
        fault.back_at = await self._fleet.redis_back()

    async def full(self, fault: Fault) -> None:
        fault.target = "redis"
        client: Redis = self._fleet.client
        await client.config_set("maxmemory", "1mb")
        await self._pause(1, 4)
        await client.config_set("maxmemory", "0")
        fault.back_at = time.time()

    async def demoted(self, fault: Fault) -> None:
        """It takes reads and refuses writes, as one that has become a replica."""
        fault.target = "redis"
        await self._fleet.client.execute_command("REPLICAOF", "127.0.0.1", "1")
        await self._pause(0.5, 4)
        await self._fleet.client.execute_command("REPLICAOF", "NO", "ONE")
        fault.back_at = time.time()

    async def loading(self, fault: Fault) -> None:
        """It is there, and for seconds answers only that it is loading."""
        fault.target = "redis"
        member = self._fleet.redis
        await member.kill()
        plain = member.command
        bytes_to_load = sum(path.stat().st_size for path in self._fleet.folder.glob("append*/*"))
        delay_us = max(1, round(_LOADS_S * 1e6 / (1 + bytes_to_load / _BYTES_A_COMMAND)))
        slow = ("--loading-process-events-interval-bytes", "1024")
        member.command = [*plain, "--key-load-delay", str(delay_us), *slow]
        await self._started(fault)
        member.command = plain

    async def script_flush(self, fault: Fault) -> None:
        fault.target = "redis"
        await self._fleet.client.script_flush()

    async def client_kill(self, fault: Fault) -> None:
        fault.target = "redis"
        await self._fleet.client.execute_command(
            "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"
        )
