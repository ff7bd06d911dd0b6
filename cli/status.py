"""`adasplit status`: roles, slots and queues, once."""

import asyncio
import json
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

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
    asking = (
        state_from_redis(settings_for_redis(redis_url))
        if redis_url
        else state_from_gateway(gateway_url(url), read_settings())
    )
    state = asyncio.run(asking)
    if as_json:
        print(json.dumps(state, indent=2))
        return
    try:
        view, policy = view_of(state), Policy.model_validate(state.get("policy") or {})
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError) as error:
        raise CannotDo(f"the gateway's /v1/state is not understood: {error!r}") from None
    console = Console()
    console.print(page(view, policy, f"AdaSplit  pool {state.get('pool', '')}", console.width))
