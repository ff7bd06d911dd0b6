"""Looks at the pool all the time: what must hold at every moment, and a lasting copy of events."""

import asyncio
import contextlib
import time
from collections import defaultdict

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.chaos.faults import KEYS

SLOTS = 8
_NO_SHORT_S = 12.0
"""A dead Short unit is noticed after 5 s (alive_s), then the scaler repairs; twice that is long."""

_LOOK = """
local found = {}
for _, unit in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local active = redis.call('HMGET', KEYS[2] .. unit, 'short', 'long')
  found[#found + 1] = { unit, active[1] or '0', active[2] or '0',
    redis.call('ZCARD', KEYS[3] .. unit), redis.call('GET', KEYS[4] .. unit) or '',
    redis.call('ZSCORE', KEYS[1], unit) }
end
return { redis.call('TIME')[1], found }
"""


class Watch:
    """`violations`: what was seen and may not be. `events`: all that were seen, by entry id."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.violations: list[str] = []
        self.events: dict[str, dict[str, str]] = {}
        self.polls = 0
        self.most_in_flight = 0
        self._no_short_since = 0.0
        self._last_event = "-"

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(RedisError, OSError):
                await self._look()
                await self.read_events()
            await asyncio.sleep(0.1)  # between two looks

    async def _look(self) -> None:
        names = [KEYS.units, KEYS.active(""), KEYS.leases(""), KEYS.role("")]
        now_s, units = await self._client.eval(_LOOK, len(names), *names)
        self.polls += 1
        short_lives = not units
        for unit, short, long, leases, role, beat in units:
            held = int(short) + int(long)
            self.most_in_flight = max(self.most_in_flight, held)
            if not (int(short) >= 0 and int(long) >= 0 and held <= SLOTS):
                self.violations.append(f"{unit.decode()} has {short} + {long} in flight")
            if held != leases:
                self.violations.append(f"{unit.decode()} counts {held} and leases {leases}")
            if role not in {b"short", b"long"}:
                self.violations.append(f"{unit.decode()} has the role {role}")
            short_lives |= role == b"short" and float(beat) >= int(now_s) * 1000 - 5000
        self._judge_roles(short_lives=short_lives)

    def _judge_roles(self, *, short_lives: bool) -> None:
        if short_lives:
            self._no_short_since = 0.0
        elif not self._no_short_since:
            self._no_short_since = time.monotonic()
        elif time.monotonic() - self._no_short_since > _NO_SHORT_S:
            self.violations.append("no Short unit for too long")
            self._no_short_since = 0.0

    def forgive_roles(self) -> None:
        """Nobody could beat or flip while Redis was away."""
        self._no_short_since = 0.0

    async def read_events(self) -> None:
        """Copy new events; ids grow also over a restart of Redis, as they are times."""
        while page := await self._client.xrange(KEYS.events, min=self._last_event, count=1000):
            for name, fields in page:
                self.events[name.decode()] = {k.decode(): v.decode() for k, v in fields.items()}
                self._last_event = f"({name.decode()}"

    def by_job(self) -> dict[str, list[dict[str, str]]]:
        found: dict[str, list[dict[str, str]]] = defaultdict(list)
        for event in self.events.values():
            if "job" in event:
                found[event["job"]].append(event)
        return found
