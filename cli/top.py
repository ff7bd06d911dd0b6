"""`adasplit top`: what `adasplit status` shows, again and again."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cli.failure import CannotDo
from cli.status import picture, state_source


def top(
    *,
    url: Annotated[str, typer.Option(help="The gateway to ask.")] = "",
    redis_url: Annotated[str, typer.Option(help="Ask this Redis instead of a gateway.")] = "",
    every_s: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Show what the units and queues are doing, until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        asyncio.run(_show(state_source(url, redis_url), every_s))


async def _show(look: Callable[[], Awaitable[Any]], every_s: float) -> None:
    """Raises CannotDo when there is nothing to see from the start; later the page says so."""
    console = Console()
    seen: RenderableType = picture(await look(), console.width)
    with ExitStack() as screen:
        show: Callable[[RenderableType], None] = console.print
        if console.is_terminal:
            live = screen.enter_context(Live(console=console, auto_refresh=False, screen=True))
            show = partial(live.update, refresh=True)
        problem = Text()
        while True:
            show(Group(seen, problem))
            await asyncio.sleep(every_s)
            problem = Text()
            try:
                seen = picture(await look(), console.width)
            except CannotDo as error:
                # What was seen last stays.
                problem = Text(f"\n{error}", style="bold red")
