"""One run of `adasplit up`: check, start, show, stop."""

import asyncio
import os
import secrets
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cli import embedded
from cli.checks import check_ports, check_redis, check_tokenizer
from cli.child import Child
from cli.curl import curl
from cli.failure import CannotDo
from cli.prober import Prober
from cli.program import Layout, Program
from cli.running import Running, leave_note, remove_note
from cli.settings import CliSettings
from cli.supervisor import Supervisor
from cli.viewer import Viewer
from common.connection import Connection, RedisUnavailable
from common.private import private_folder
from common.views import Views

_AFTER_DRAIN_S = 15.0


@dataclass(frozen=True)
class Launch:
    """What was asked for."""

    layout: Layout
    settings: CliSettings
    logs: Path
    console: Console
    live: bool

    async def run(self) -> None:
        """Until Ctrl-C. Raises CannotDo when something cannot be started."""
        check_tokenizer(self.settings.tokenizer)
        check_ports(self.layout)
        if self.settings.names_redis:
            await check_redis(self.settings.redis_url)
            await _Run(self, self.settings.redis_url, self.layout.programs()).run()
            return
        with private_folder("valkey") as folder:
            redis = embedded.prepare(folder)
            await _Run(self, redis.url, [redis.program, *self.layout.programs()]).run()


class _Run:
    """The processes of one launch, on the Redis of this URL."""

    def __init__(self, launch: Launch, redis_url: str, programs: list[Program]) -> None:
        self._launch = launch
        self._redis_url = redis_url
        self._console = launch.console
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._warned = False
        environment = os.environ | {"ADASPLIT_REDIS_URL": redis_url, "PYTHONUNBUFFERED": "1"}
        # Where others can reach the gateway, this run has a key of its own, unless told otherwise.
        self._key = secrets.token_urlsafe(24) if launch.settings.needs_key else ""
        if self._key:
            environment["ADASPLIT_API_KEYS"] = f"up:{self._key}"
        self._children = [Child(program, launch.logs, environment) for program in programs]

    async def run(self) -> None:
        self._catch_signals()
        self._say(_summary(self._children))
        self._say(f"logs: {self._launch.logs}")
        launch = self._launch
        async with AsyncExitStack() as stack:
            connection = Connection.from_url(self._redis_url)
            stack.push_async_callback(connection.aclose)
            prober = Prober(connection)
            stack.push_async_callback(prober.aclose)
            supervisor = Supervisor(
                self._children,
                prober.ready,
                self._say,
                self._leave_note,
                self._stop,
                self._hurry,
                launch.settings.drain_s + _AFTER_DRAIN_S,
            )
            stack.callback(remove_note, os.getpid())
            stack.push_async_callback(supervisor.finish)
            await self._start_and_show(supervisor, Views(connection, self._launch.settings))
        if supervisor.failure:
            raise CannotDo(supervisor.failure)

    async def _start_and_show(self, supervisor: Supervisor, views: Views) -> None:
        started_s = time.monotonic()
        await supervisor.start()
        if self._stop.is_set():
            return
        self._say(f"ready after {time.monotonic() - started_s:.1f} s; try:\n")
        self._say(await self._curl(views) + "\n")
        if self._launch.layout.dashboard_url:
            self._say(f"dashboard: {self._launch.layout.dashboard_url}\n")
        self._say("Ctrl-C stops everything\n")
        title = f"AdaSplit  pool {self._launch.settings.pool}  {self._launch.layout.url}"
        viewer = Viewer(views, self._launch.settings, self._console, title)
        await (viewer.show_page if self._launch.live else viewer.print_lines)(self._stop)

    def _catch_signals(self) -> None:
        def on_signal() -> None:
            if self._stop.is_set():
                self._hurry.set()
            else:
                self._say("stopping in order; once more to stop at once")
            self._stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, on_signal)

    def _leave_note(self) -> None:
        pids = {child.program.name: child.pid for child in self._children}
        try:
            leave_note(
                Running(
                    pid=os.getpid(),
                    redis_url=self._redis_url,
                    pool=self._launch.settings.pool,
                    url=self._launch.layout.url,
                    logs=str(self._launch.logs),
                    pids={name: pid for name, pid in pids.items() if pid},
                    api_key=self._key,
                )
            )
        except OSError as error:
            if not self._warned:
                self._say(f"`adasplit explain` will not find this by itself: {error}")
            self._warned = True

    async def _curl(self, views: Views) -> str:
        try:
            models = [model for unit in (await views.pool()).units for model in unit.models]
        except RedisUnavailable:
            models = []
        settings = self._launch.settings
        set_keys = settings.api_keys.get_secret_value() or settings.api_keys_file
        key = self._key or ("<one of your API keys>" if set_keys else "")
        return curl(self._launch.layout.url, (models or ["MODEL"])[0], key)

    def _say(self, line: str) -> None:
        # A terminal that was closed is no reason not to stop in order.
        with suppress(OSError):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _summary(children: list[Child]) -> str:
    stages = [child.program.stage for child in children]
    words = {
        "redis": "embedded Valkey",
        "units": "simulated unit",
        "scaler": "scaler",
        "dispatchers": "dispatcher",
        "gateways": "gateway",
        "dashboard": "dashboard",
    }
    counts = Counter(stages)
    counted = [
        words[name] if count == 1 else f"{count} {words[name]}s" for name, count in counts.items()
    ]
    return f"starting {', '.join(counted)}"
