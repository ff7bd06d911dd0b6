"""`adasplit status`: roles, slots and queues, once."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console, RenderableType

from cli.failure import CannotDo
from cli.page import page
from cli.reading import gateway_url, settings_for_redis
from cli.settings import read_settings
from cli.sources import state_from_gateway, state_from_redis
from cli.state import view_of
from common.policy import Policy


def status(
    *,
    url: Annotated[str, typer.Option(help="The gateway to ask.")] = "",
    redis_url: Annotated[str, typer.Option(help="Ask this Redis instead of a gateway.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what the units and queues are doing now."""
    state = asyncio.run(state_source(url, redis_url)())
    if as_json:
        print(json.dumps(state, indent=2))
        return
    console = Console()
    console.print(picture(state, console.width))


def state_source(url: str, redis_url: str) -> Callable[[], Coroutine[Any, Any, Any]]:
    """What asks a Redis, when one is given, or else a gateway. It raises CannotDo."""
    if redis_url:
        return partial(state_from_redis, settings_for_redis(redis_url))
    return partial(state_from_gateway, gateway_url(url), read_settings())


def picture(state: Any, width: int) -> RenderableType:
    """A state as a page. Raises CannotDo when it is none."""
    try:
        view, policy = view_of(state), Policy.model_validate(state.get("policy") or {})
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError) as error:
        raise CannotDo(f"the gateway's /v1/state is not understood: {error!r}") from None
    return page(view, policy, f"AdaSplit  pool {state.get('pool', '')}", width)
