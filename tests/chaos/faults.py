"""What goes wrong, and when: each fault is begun, ended, recorded and timed."""

import asyncio
import contextlib
import json
import random
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from redis.exceptions import RedisError

from common.keys import CLASSES, Keys
from tests.chaos.fleet import GATEWAYS, POOL, SCALERS, UNITS, Fleet, Member, answers
from tests.chaos.proxy import Moment, Trap
from tests.chaos.redis_faults import Fault, RedisFaults

KEYS = Keys(POOL)
_LEASE_S = 15.0
_LONG_RUN_S = 200.0
_STARTED_S = 60.0


_Kind = tuple[str, str, int, Callable[[Fault], Awaitable[None]]]

_FIRST = {"dispatcher-1", "unit-1", "gateway-1"}
_AT_FIRST = {
    "claimed, reply lost", "claimed, dispatcher killed", "mid-stream, dispatcher killed",
    "sent, killed before finish", "finished, reply lost", "submitted, reply lost",
}  # fmt: skip
"""Kinds whose traps lie on the way of the first dispatcher or gateway, which must then be well."""


def _side(name: str) -> str:
    """A unit and its dispatcher are one to the pool: only one of them is hurt at a time."""
    kind = name.partition("-")[0]
    return "unit" if kind == "dispatcher" else kind


class Faults:
    """The ways to hurt a fleet. Each method is one kind, and waits until its cause is gone."""

    def __init__(self, fleet: Fleet, rng: random.Random, seconds: float) -> None:
        self._fleet = fleet
        self._rng = rng
        self.done: list[Fault] = []
        self.broken: list[str] = []
        self._busy: set[str] = set()
        self._free = {"units": 2, "gateways": 1, "scalers": 1, "redis": 1}
        self._redis = RedisFaults(fleet, rng, self._pause)
        self._kinds: list[_Kind] = [
            ("units", "dispatcher killed, back at once", 3, self._dispatcher_killed),
            ("units", "dispatcher killed, away", 2, self._dispatcher_away),
            ("units", "dispatcher frozen", 2, self._dispatcher_frozen),
            ("units", "dispatcher restarted", 2, self._dispatcher_restarted),
            ("units", "unit killed", 3, self._unit_killed),
            ("units", "unit frozen", 2, self._unit_frozen),
            ("units", "unit misbehaves", 5, self._unit_misbehaves),
            ("units", "claimed, reply lost", 2, self._claim_reply_lost),
            ("units", "claimed, dispatcher killed", 2, self._claim_killed),
            ("units", "mid-stream, dispatcher killed", 2, self._relay_killed),
            ("units", "sent, killed before finish", 2, self._finish_killed),
            ("units", "finished, reply lost", 2, self._finish_reply_lost),
            ("gateways", "submitted, reply lost", 2, self._submit_reply_lost),
            ("gateways", "gateway killed", 3, self._gateway_killed),
            ("gateways", "gateway frozen", 1, self._gateway_frozen),
            ("gateways", "gateway restarted", 2, self._gateway_restarted),
            ("scalers", "scaler killed", 2, self._scaler_killed),
            ("scalers", "scaler frozen", 1, self._scaler_frozen),
            ("scalers", "scaler restarted", 1, self._scaler_restarted),
            ("redis", "Redis killed, back with its AOF", 2, self._redis.killed),
            ("redis", "Redis restarted empty", 1, self._redis.emptied),
            ("redis", "Redis frozen", 2, self._redis.frozen),
            ("redis", "Redis full", 1, self._redis.full),
            ("redis", "Redis demoted", 2, self._redis.demoted),
            ("redis", "Redis loading", 1, self._redis.loading),
            ("redis", "SCRIPT FLUSH", 2, self._redis.script_flush),
            ("redis", "CLIENT KILL", 2, self._redis.client_kill),
        ]
        if seconds >= _LONG_RUN_S:
            # Drawn in the first round alone: nothing else happens in that minute.
            self._kinds.append(
                ("redis", "Redis away for a minute", 0, self._redis.away_for_a_minute)
            )
        self._turn = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Begin faults at random moments until `stop`: of units two at a time, else one of a group.

        Every kind comes once before any comes twice, so that no run misses one by chance.
        """
        order = self._rng.sample(self._kinds, len(self._kinds))
        under_way: set[asyncio.Task[None]] = set()
        while not stop.is_set():
            chosen = self._next(order)
            if chosen:
                task = asyncio.create_task(self._one(*chosen))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(self._rng.uniform(0.5, 3.0))  # between two faults
        if under_way:
            await asyncio.wait(under_way)
        for member in self._fleet.members:
            member.signal(signal.SIGCONT)

    def _next(self, order: list[_Kind]) -> _Kind | None:
        for kind in order:
            if self._free[kind[0]] and not (kind[1] in _AT_FIRST and self._busy & _FIRST):
                order.remove(kind)
                return kind
        if order:
            return None
        kind = self._rng.choices(self._kinds, [weight for _, _, weight, _ in self._kinds])[0]
        blocked = kind[1] in _AT_FIRST and self._busy & _FIRST
        return kind if self._free[kind[0]] and not blocked else None

    async def _one(
        self, group: str, kind: str, _: int, act: Callable[[Fault], Awaitable[None]]
    ) -> None:
        self._free[group] -= 1
        fault = Fault(kind, "", time.time())
        self.done.append(fault)
        try:
            await act(fault)
            fault.ended_at = time.time()
            # On a slow machine a process takes its time to start: until then its like are spared.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STARTED_S):
                    await self._serves_again(fault.target)
            if group == "redis":
                await self._pause(0, 8)  # were it always hurt, hardly a job would run
        except Exception as error:
            self.broken.append(f"the driver failed in {kind}: {error!r}")
            raise
        finally:
            self._free[group] += 1
            self._busy.discard(fault.target)

    async def _serves_again(self, target: str) -> None:
        kind, _, number = target.partition("-")
        since_ms = time.time() * 1000
        while not await self._is_there(kind, int(number or 0), since_ms):  # noqa: ASYNC110  # it tells nobody here
            await asyncio.sleep(0.1)

    async def _is_there(self, kind: str, number: int, since_ms: float) -> bool:
        if kind in {"unit", "dispatcher"}:
            return await self._beats(f"unit-{number}", since_ms)
        return kind != "gateway" or await answers(self._fleet.gateway_urls[number - 1])

    async def _beats(self, unit: str, since_ms: float) -> bool:
        with contextlib.suppress(RedisError, OSError):
            return (await self._fleet.client.zscore(KEYS.units, unit) or 0) > since_ms
        return False

    async def _pause(self, shortest_s: float, longest_s: float) -> None:
        await asyncio.sleep(self._rng.uniform(shortest_s, longest_s))  # how long the fault lasts

    def _pick(self, fault: Fault, kind: str, count: int) -> Member:
        taken = {name.rpartition("-")[2] for name in self._busy if _side(name) == _side(kind)}
        free = [number for number in range(1, count + 1) if str(number) not in taken]
        fault.target = f"{kind}-{self._rng.choice(free)}"
        self._busy.add(fault.target)
        return self._fleet.named(fault.target)

    async def _held_by(self, unit: str) -> list[str]:
        with contextlib.suppress(RedisError, OSError):
            names: list[bytes] = await self._fleet.client.zrange(KEYS.leases(unit), 0, -1)
            return [name.decode() for name in names]
        return []

    async def _held_for(self, member: Member) -> list[str]:
        """Unfinished jobs of a gateway, which its log names."""
        gateway = member.log.read_text().rpartition("started gateway=")[2].partition(" ")[0]
        client, found = self._fleet.client, []
        with contextlib.suppress(RedisError, OSError):
            for name in CLASSES:
                for _, entry in await client.xrange(KEYS.queue(name)):
                    job = entry[b"job"].decode()
                    if await client.hget(KEYS.job(job), "gateway") == gateway.encode():
                        found.append(job)
        return found

    # Dispatchers

    async def _kill(self, fault: Fault, member: Member) -> None:
        number = member.name.rpartition("-")[2]
        fault.held = await self._held_by(f"unit-{number}")
        fault.begun_at = time.time()
        await member.kill()

    async def _dispatcher_killed(self, fault: Fault) -> None:
        member = self._pick(fault, "dispatcher", UNITS)
        await self._kill(fault, member)
        fault.back_at = time.time()
        member.start()

    async def _dispatcher_away(self, fault: Fault) -> None:
        member = self._pick(fault, "dispatcher", UNITS)
        await self._kill(fault, member)
        await self._pause(_LEASE_S + 3, _LEASE_S + 6)
        member.start()

    async def _dispatcher_frozen(self, fault: Fault) -> None:
        member = self._pick(fault, "dispatcher", UNITS)
        member.signal(signal.SIGSTOP)
        await (self._pause(1, 4) if self._rng.random() < 0.6 else self._pause(18, 22))
        member.signal(signal.SIGCONT)

    async def _dispatcher_restarted(self, fault: Fault) -> None:
        await self._restart(self._pick(fault, "dispatcher", UNITS))

    async def _restart(self, member: Member) -> None:
        status = await member.terminate()
        if status:
            member.deaths.append(f"{member.name} ended with {status} on SIGTERM")
        member.start()

    # Points of the protocol

    async def _trapped(self, fault: Fault, name: str, trap: Trap) -> None:
        fault.target = name
        self._busy.add(name)
        proxy = self._fleet.proxies[name]
        proxy.trap = trap
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(8):
                await trap.sprung.wait()
        proxy.trap = None
        if trap.taken:
            # What springs late still has its kill to do; a connection that is gone springs no more.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20):
                    await trap.sprung.wait()
        if not trap.taken:
            fault.kind += " (did not happen)"
        member = self._fleet.named(name)
        if not member.meant_to_run:
            fault.back_at = time.time()
            member.start()

    async def _killed_at(
        self, fault: Fault, script: str, moment: Moment, needs: bytes = b"", skip: int = 0
    ) -> None:
        member = self._fleet.named("dispatcher-1")

        async def kill() -> None:
            await self._kill(fault, member)

        await self._trapped(fault, member.name, Trap(script, moment, kill, needs, skip))

    async def _claim_reply_lost(self, fault: Fault) -> None:
        await self._trapped(fault, "dispatcher-1", Trap("claim", "after"))

    async def _claim_killed(self, fault: Fault) -> None:
        await self._killed_at(fault, "claim", "after")

    async def _relay_killed(self, fault: Fault) -> None:
        await self._killed_at(fault, "relay", "after", b"chunk", self._rng.randint(1, 20))

    async def _finish_killed(self, fault: Fault) -> None:
        await self._killed_at(fault, "finish", "before")

    async def _finish_reply_lost(self, fault: Fault) -> None:
        await self._trapped(fault, "dispatcher-1", Trap("finish", "after"))

    async def _submit_reply_lost(self, fault: Fault) -> None:
        await self._trapped(fault, "gateway-1", Trap("submit", "after"))

    # Units

    async def _unit_killed(self, fault: Fault) -> None:
        member = self._pick(fault, "unit", UNITS)
        await member.kill()
        await self._pause(0.2, 6)
        member.start()
        fault.back_at = time.time()

    async def _unit_frozen(self, fault: Fault) -> None:
        member = self._pick(fault, "unit", UNITS)
        member.signal(signal.SIGSTOP)
        await self._pause(1, 12)
        member.signal(signal.SIGCONT)
        fault.back_at = time.time()

    async def _unit_misbehaves(self, fault: Fault) -> None:
        number = int(self._pick(fault, "unit", UNITS).name.rpartition("-")[2])
        kinds: list[dict[str, Any]] = [
            {"kind": "status", "status": 500}, {"kind": "status", "status": 429},
            {"kind": "hang"}, {"kind": "drop"}, {"kind": "hang_mid", "after_tokens": 5},
            {"kind": "disconnect", "after_tokens": 5}, {"kind": "eof", "after_tokens": 5},
            {"kind": "error_event", "after_tokens": 5}, {"kind": "malformed", "after_tokens": 5},
            {"kind": "split"}, {"kind": "unready", "seconds": 12},
        ]  # fmt: skip
        rule = self._rng.choice(kinds)
        fault.kind, fault.target = (
            f"unit: {rule['kind']} {rule.get('status', '')}".strip(),
            f"unit-{number}",
        )
        rule = rule | ({} if rule["kind"] == "unready" else {"probability": 0.5, "count": 6})
        url = self._fleet.unit_url(number) + "/simulator/faults"
        try:
            async with aiohttp.ClientSession() as session:
                async with session.post(url, data=json.dumps(rule)) as said:
                    said.raise_for_status()
                await self._pause(3, 6)
                async with session.delete(url) as said:
                    said.raise_for_status()
        except aiohttp.ClientError as error:
            fault.kind += f" (did not happen: {error})"
        fault.back_at = time.time()

    # Gateways and scalers

    async def _gateway_killed(self, fault: Fault) -> None:
        member = self._pick(fault, "gateway", GATEWAYS)
        fault.held = await self._held_for(member)
        fault.begun_at = time.time()
        await member.kill()
        await self._pause(0.2, 3)
        member.start()

    async def _gateway_frozen(self, fault: Fault) -> None:
        member = self._pick(fault, "gateway", GATEWAYS)
        member.signal(signal.SIGSTOP)
        await (self._pause(1, 3) if self._rng.random() < 0.6 else self._pause(8, 10))
        member.signal(signal.SIGCONT)

    async def _gateway_restarted(self, fault: Fault) -> None:
        await self._restart(self._pick(fault, "gateway", GATEWAYS))

    async def _scaler_killed(self, fault: Fault) -> None:
        leader = await self._leader()
        member = self._pick(fault, "scaler", SCALERS)
        await member.kill()
        if leader:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20):
                    while await self._leader() in {leader, None}:
                        # Only the death of the leader makes another one lead.
                        if time.time() - fault.begun_at > 6:
                            break
                        await asyncio.sleep(0.05)  # the key tells nobody when it changes
                    else:
                        fault.recovered_s.append(time.time() - fault.begun_at)
        member.start()

    async def _leader(self) -> bytes | None:
        with contextlib.suppress(RedisError, OSError):
            leader: bytes | None = await self._fleet.client.get(KEYS.leader)
            return leader
        return None

    async def _scaler_frozen(self, fault: Fault) -> None:
        member = self._pick(fault, "scaler", SCALERS)
        member.signal(signal.SIGSTOP)
        await self._pause(2, 8)
        member.signal(signal.SIGCONT)

    async def _scaler_restarted(self, fault: Fault) -> None:
        await self._restart(self._pick(fault, "scaler", SCALERS))
