"""Real processes that can be killed, frozen and started again, each with its name and ports."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.chaos.proxy import Proxy
from tests.conftest import BINARIES, DIES_WITH_ITS_PARENT, free_ports

UNITS = 4
GATEWAYS = 2
SCALERS = 2
SPEED = 4.0
POOL = "chaos"
_BACK_WITHIN_S = 60.0
_READY_AFTER_S = 10.0


@dataclass
class Member:
    """One process. `deaths`: how often it ended although nobody had asked for that."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    meant_to_run: bool = False
    started_at: float = 0.0
    deaths: list[str] = field(default_factory=list)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DIES_WITH_ITS_PARENT, *self.command],
                env=os.environ | self.environment,
                cwd=self.log.parent,
                stdout=log,
                stderr=log,
            )
        self.meant_to_run = True
        self.started_at = time.monotonic()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def notice(self) -> None:
        """Note an end that nobody has asked for, and start the process again."""
        if self.meant_to_run and not self.running and self.process:
            self.deaths.append(f"{self.name} ended by itself with {self.process.returncode}")
            self.start()

    def signal(self, number: int) -> None:
        if self.running and self.process:
            self.process.send_signal(number)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """End it as an operator does; answers its exit status."""
        ready = time.monotonic() - self.started_at > _READY_AFTER_S
        status = await self._end(signal.SIGTERM)
        # Before it has got hold of its signals, it ends as any process does.
        return status if ready or status != -signal.SIGTERM else 0

    async def _end(self, number: int) -> int:
        self.meant_to_run = False
        self.signal(number)
        if self.process is None:
            return 0
        return await asyncio.to_thread(self.process.wait)


async def answers(url: str, path: str = "/healthz") -> bool:
    """Whether a gateway says 200 on a page of its own."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path.encode())
        status = await reader.readline()
        writer.close()
        return b" 200 " in status
    return False


class Fleet:
    """Redis, units, dispatchers, gateways and scalers of one pool.

    The first dispatcher and the first gateway reach Redis through proxies, which cut them off at
    exact points of the protocol.
    """

    def __init__(self, folder: Path, binary: str, *, shared_port: bool = False) -> None:
        self.folder = folder
        ports = iter(free_ports(1 + 2 * UNITS + GATEWAYS + SCALERS))
        self.redis_port = next(ports)
        self.gateway_urls: list[str] = []
        self.redis = self._redis_member(binary)
        self.client = Redis(port=self.redis_port, socket_timeout=5, protocol=2)
        self.proxies: dict[str, Proxy] = {}
        self.units = [self._unit(number, next(ports)) for number in range(1, UNITS + 1)]
        self._ports = ports
        self._shared_port = shared_port
        self.dispatchers: list[Member] = []
        self.gateways: list[Member] = []
        self.scalers: list[Member] = []

    async def start(self) -> None:
        self.redis.start()
        await self.redis_back()
        for name in ("dispatcher-1", "gateway-1"):
            self.proxies[name] = await Proxy.listening(self.redis_port)
        self.dispatchers = [self._dispatcher(n, next(self._ports)) for n in range(1, UNITS + 1)]
        self.gateways = [self._gateway(n, next(self._ports)) for n in range(1, GATEWAYS + 1)]
        self.scalers = [self._scaler(n, next(self._ports)) for n in range(1, SCALERS + 1)]
        for member in self.members[1:]:
            member.start()

    @property
    def members(self) -> list[Member]:
        return [self.redis, *self.units, *self.dispatchers, *self.gateways, *self.scalers]

    def named(self, name: str) -> Member:
        (member,) = (member for member in self.members if member.name == name)
        return member

    async def redis_back(self) -> float:
        """Wait until Redis answers and has loaded; answers when that was."""
        end_s = time.monotonic() + _BACK_WITHIN_S
        while time.monotonic() < end_s:
            with contextlib.suppress(RedisError, OSError):
                if await self.client.ping():
                    return time.time()
            await asyncio.sleep(0.02)  # Redis tells nobody when it is there
        raise TimeoutError("Redis does not come back")

    async def empty_redis(self) -> None:
        """Remove what Redis would load, while it is down."""
        for name in ("appendonlydir", "dump.rdb"):
            path = self.folder / name
            for item in sorted(path.rglob("*"), reverse=True) if path.is_dir() else [path]:
                item.unlink(missing_ok=True)

    async def aclose(self) -> None:
        for member in reversed(self.members):
            await member.kill()
        for proxy in self.proxies.values():
            await proxy.aclose()
        await self.client.aclose()

    def logs(self) -> Iterator[tuple[str, str]]:
        for member in self.members:
            yield member.name, member.log.read_text(errors="replace") if member.log.exists() else ""

    def _member(self, name: str, command: list[str], **settings: object) -> Member:
        environment = {f"ADASPLIT_{key.upper()}": str(value) for key, value in settings.items()}
        return Member(name, command, environment, self.folder / f"{name}.log")

    def _redis_member(self, binary: str) -> Member:
        options = {
            "port": self.redis_port, "bind": "127.0.0.1", "dir": self.folder, "save": "",
            "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction",
        }  # fmt: skip
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return self._member("redis", [BINARIES[binary], *flags])

    def _python(self, module: str, *arguments: object) -> list[str]:
        return [sys.executable, "-m", module, *map(str, arguments)]

    def _unit(self, number: int, port: int) -> Member:
        flags = ("--port", port, "--speed", SPEED, "--seed", number)
        return self._member(f"unit-{number}", self._python("simulator", *flags))

    def unit_url(self, number: int) -> str:
        command = self.units[number - 1].command
        return f"http://127.0.0.1:{command[command.index('--port') + 1]}"

    def _redis_url(self, name: str) -> str:
        proxy = self.proxies.get(name)
        return f"redis://127.0.0.1:{proxy.port if proxy else self.redis_port}/0"

    def _dispatcher(self, number: int, port: int) -> Member:
        name = f"dispatcher-{number}"
        flags = ("--unit", f"unit-{number}", "--url", self.unit_url(number), "--port", port)
        return self._member(
            name,
            self._python("dispatcher", *flags),
            redis_url=self._redis_url(name),
            pool=POOL,
            first_byte_timeout_s=6,
            between_chunk_timeout_s=6,
            whole_answer_timeout_s=12,
            unit_backoff_longest_s=4,
        )

    def _gateway(self, number: int, port: int) -> Member:
        name = f"gateway-{number}"
        shared = ["--share-port"] if self._shared_port else []
        if shared and self.gateway_urls:
            port = int(self.gateway_urls[0].rpartition(":")[2])
        self.gateway_urls.append(f"http://127.0.0.1:{port}")
        command = self._python("gateway", "--port", port, *shared)
        return self._member(name, command, redis_url=self._redis_url(name), pool=POOL)

    def _scaler(self, number: int, port: int) -> Member:
        name = f"scaler-{number}"
        command = self._python("scaler", "--port", port)
        return self._member(name, command, redis_url=self._redis_url(name), pool=POOL)
