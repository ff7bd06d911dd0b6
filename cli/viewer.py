"""Shows the pool while `adasplit up` runs: a live page on a terminal, else a line now and then."""

import asyncio
import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cli.happenings import Happenings
from cli.page import lately, page, plain
from common.connection import RedisUnavailable
from common.duty import sleep_or_stop
from common.models import PoolView
from common.policy import Policy
from common.views import Views

_PAGE_EVERY_S = 0.5
_LINE_EVERY_S = 5.0


class Viewer:
    """Reads Redis and shows what it says, until told to stop."""

    def __init__(self, views: Views, policy: Policy, console: Console, title: str) -> None:
        self._views = views
        self._policy = policy
        self._console = console
        self._title = title
        self._started_s = time.monotonic()
        self._happenings = Happenings()

    async def show_page(self, stop: asyncio.Event) -> None:
        with Live(console=self._console, auto_refresh=False) as live:
            while not stop.is_set():
                live.update(await self._page(), refresh=True)
                await sleep_or_stop(stop, _PAGE_EVERY_S)

    async def print_lines(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            clock = time.strftime("%H:%M:%S")
            line = f"{clock} {await self._line()}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
            await sleep_or_stop(stop, _LINE_EVERY_S)

    async def _page(self) -> RenderableType:
        try:
            view = await self._look()
        except RedisUnavailable as error:
            return Text(f"Redis is away: {error}", style="bold red")
        up_s = round(time.monotonic() - self._started_s)
        title = f"{self._title}   up {up_s // 3600}:{up_s // 60 % 60:02}:{up_s % 60:02}"
        policy = self._policy.under(view.overrides)
        return Group(
            page(view, policy, title, self._console.width),
            lately(self._happenings.counts, self._happenings.notes),
        )

    async def _line(self) -> str:
        try:
            return plain(await self._look(), self._happenings.counts)
        except RedisUnavailable as error:
            return f"Redis is away: {error}"

    async def _look(self) -> PoolView:
        await self._happenings.follow(self._views)
        return await self._views.pool()
