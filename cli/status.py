"""`adasplit status`: roles, slots and queues, once."""

import asyncio
import json
from typing import Annotated, Any

import httpx
import typer
from pydantic import ValidationError
from rich.console import Console

from cli.failure import CannotDo
from cli.page import page
from cli.reading import gateway_url, read, settings_for_redis
from cli.settings import read_settings
from cli.state import view_of
from common.policy import Policy
from common.state import state_of

_TIMEOUT_S = 5.0


def status(
    *,
    url: Annotated[str, typer.Option(help="The gateway to ask.")] = "",
    redis_url: Annotated[str, typer.Option(help="Ask this Redis instead of a gateway.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what the units and queues are doing now."""
    state = asyncio.run(_from_redis(redis_url)) if redis_url else _from_gateway(gateway_url(url))
    if as_json:
        print(json.dumps(state, indent=2))
        return
    try:
        view, policy = view_of(state), Policy.model_validate(state.get("policy") or {})
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError) as error:
        raise CannotDo(f"the gateway's /v1/state is not understood: {error!r}") from None
    console = Console()
    console.print(page(view, policy, f"AdaSplit  pool {state.get('pool', '')}", console.width))


def _from_gateway(url: str) -> Any:
    try:
        key = read_settings().api_key
        headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        answer = httpx.get(f"{url}/v1/state", headers=headers, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CannotDo(f"no state from the gateway at {url}: {error}") from None
    except ValueError:
        raise CannotDo(f"what answers at {url} is no gateway") from None


async def _from_redis(redis_url: str) -> dict[str, Any]:
    settings = settings_for_redis(redis_url)
    view = await read(settings, lambda views: views.pool())
    return state_of(settings.pool, view, settings.under(view.overrides))
