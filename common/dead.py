"""What can still be done with a dead-lettered job: run it again under a new id, or forget it.

Its own outcome stays what it is: a job has one.
"""

import re
from typing import cast

from common.connection import Connection
from common.keys import JobClass, Keys
from common.models import NewJob
from common.settings import Settings

_AGAIN = re.compile(r"(.+)-again(\d+)")


class DeadLetters:
    """Reads and changes of one pool's dead-lettered jobs. All raise `RedisUnavailable`."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.keys = Keys(settings.pool)
        self._connection = connection
        self._timeout_s = settings.request_timeout_s

    async def again(self, job: str, gateway: str) -> NewJob | None:
        """The job as a new one for this gateway, under an id that follows from its own.

        None when it is not dead, or its body is not kept any more.
        """
        fields = await self._connection.command("HGETALL", self.keys.job(job))
        texts = {name.decode(): value.decode() for name, value in fields.items() if name != b"body"}
        body = fields.get(b"body")
        if texts.get("outcome") != "dead" or body is None:
            return None
        return NewJob(
            id=next_id(job),
            job_class=cast("JobClass", texts["class"]),
            tokens=int(texts.get("tokens") or 0),
            gateway=gateway,
            route=texts.get("route", ""),
            stream=texts.get("stream") == "1",
            body=body,
            owner=texts.get("owner", ""),
            timeout_s=self._timeout_s,
            weight=int(texts.get("weight") or 1),
            priority=int(texts.get("priority") or 0),
        )

    async def forget(self, job: str, most: int, ran_again_as: str = "") -> None:
        """Take a job off the list of the dead, of which at most so many are looked at."""
        entries = await self._connection.command(
            "XREVRANGE", self.keys.dead, "+", "-", "COUNT", most
        )
        found = [entry for entry, fields in entries if fields[b"job"].decode() == job]
        key = self.keys.job(job)
        if ran_again_as and await self._connection.command("EXISTS", key):
            await self._connection.command("HSET", key, "ran_again_as", ran_again_as)
        if found:
            await self._connection.command("XDEL", self.keys.dead, *found)
        await self._connection.command("HDEL", key, "body")


def next_id(job: str) -> str:
    """`job-1-again1` after `job-1`, `job-1-again2` after that."""
    again = _AGAIN.fullmatch(job)
    return f"{again[1]}-again{int(again[2]) + 1}" if again else f"{job}-again1"
