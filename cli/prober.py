"""Asks a program whether it is ready."""

import httpx

from cli.program import Program
from common.connection import Connection, RedisUnavailable

_TIMEOUT_S = 2.0


class Prober:
    """One HTTP client and one Redis connection for all the programs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # No proxy of the environment: the programs are on this machine.
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)

    async def ready(self, program: Program) -> bool:
        if program.stage == "redis":
            return await self._redis_answers()
        try:
            return (await self._http.get(program.ready_url)).is_success
        except httpx.HTTPError:
            return False

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _redis_answers(self) -> bool:
        try:
            await self._connection.command("PING")
        except RedisUnavailable:
            return False
        return True
