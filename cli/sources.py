"""Where the commands that only look get the pool's state: from a gateway, or from Redis itself."""

from typing import Any

import httpx

from cli.failure import CannotDo
from cli.reading import gateway_key, read
from cli.settings import CliSettings
from common.state import state_of

_TIMEOUT_S = 5.0
_ANSWERS = {401: "it wants a key that may see it, in ADASPLIT_API_KEY", 404: "it is no gateway"}


async def state_from_gateway(url: str, settings: CliSettings) -> Any:
    """What `/v1/state` says. Raises CannotDo."""
    key = gateway_key(url, settings)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            answer = await client.get(f"{url}/v1/state", headers=headers)
            answer.raise_for_status()
            return answer.json()
    except httpx.HTTPStatusError as error:
        said = _ANSWERS.get(error.response.status_code, f"it answered {error.response.status_code}")
        raise CannotDo(f"no state from the gateway at {url}: {said}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        elsewhere = "`adasplit up` starts one, --url names another"
        raise CannotDo(f"no state from the gateway at {url}: {error}; {elsewhere}") from None
    except ValueError:
        raise CannotDo(f"what answers at {url} is no gateway") from None


async def state_from_redis(settings: CliSettings) -> dict[str, Any]:
    """The same, of the Redis of these settings. Raises CannotDo."""
    view = await read(settings, lambda views: views.pool())
    return state_of(settings.pool, view, settings.under(view.overrides))
