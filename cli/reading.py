"""Where the commands that only look find their pool."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from cli.failure import CannotDo
from cli.running import find_running
from cli.settings import CliSettings, read_settings
from common.connection import BadRedisUrl, Connection, RedisUnavailable
from common.views import Views

DEFAULT_URL = "http://127.0.0.1:8000"
_Read = TypeVar("_Read")


def gateway_url(given: str) -> str:
    """The URL given, else that of a running `adasplit up`, else the usual one."""
    running = find_running()
    return (given or (running.url if running else DEFAULT_URL)).rstrip("/")


def gateway_key(url: str, settings: CliSettings) -> str:
    """ADASPLIT_API_KEY, else the key that a running `adasplit up` has made for its gateway."""
    if settings.api_key:
        return settings.api_key.get_secret_value()
    running = find_running()
    return running.api_key if running and running.url == url else ""


def settings_for_redis(given: str) -> CliSettings:
    """Settings whose Redis is the one given, else ADASPLIT_REDIS_URL, else a running `up`'s."""
    if given:
        return read_settings(redis_url=given)
    settings, running = read_settings(), find_running()
    if settings.names_redis or running is None:
        return settings
    return read_settings(redis_url=running.redis_url, pool=running.pool)


def no_redis(error: RedisUnavailable) -> CannotDo:
    """What a command says that found no Redis."""
    elsewhere = "`adasplit up` starts one, --redis-url or ADASPLIT_REDIS_URL names another"
    return CannotDo(f"Redis does not answer: {error}; {elsewhere}")


async def read(settings: CliSettings, reader: Callable[[Views], Awaitable[_Read]]) -> _Read:
    """Let a reader look at the pool. Raises CannotDo when Redis is not there."""
    try:
        connection = Connection.from_url(settings.redis_url, settings.redis_timeout_s)
    except (BadRedisUrl, ValueError) as error:
        raise CannotDo(str(error)) from None
    try:
        return await reader(Views(connection, settings))
    except RedisUnavailable as error:
        raise no_redis(error) from None
    finally:
        await connection.aclose()
