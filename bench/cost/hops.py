"""Where the time of one request goes, hop by hop, as Redis, the unit and the client see it.

No process of AdaSplit says anything for it: its Redis tells in MONITOR when each script arrived,
the unit when the request came and left, the client when it asked and had the answer. MONITOR makes
scripts slower, for it writes every call inside them: how long they take is read in SLOWLOG, from
requests of their own without it.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from bench.client import ServerError
from bench.cost.wire import Requests, Target, Whole, lines
from bench.stats import percentile
from common.connection import Connection
from common.scripts import load_scripts

_WATCH_WITHIN_S = 10.0
_END = "all requests are answered"
_STEPS = ("submit", "claim", "finish")
_WARM_UP = 20
_LINE = re.compile(
    rb'(\d+\.\d+) \[\d+ (?P<who>[^\]]+)\] "(?P<command>\w+)"(?: "(?P<first>.{0,80}))?'
)
_TEXT = re.compile(r"#!lua[^\\\n]*(?:\\n|\n)-- (\w+):")

_HOPS = (
    ("the client, the gateway: read, parse, submit", ""),
    ("Redis: the script submit", "submit"),
    ("wake-up: a dispatcher hears of it and claims", ""),
    ("Redis: the script claim", "claim"),
    ("the dispatcher: call its unit", ""),
    ("the unit", ""),
    ("the dispatcher: read the answer, finish", ""),
    ("Redis: the script finish", "finish"),
    ("the gateway: read the reply, answer; the client", ""),
)
"""Hops of a request in their order; of a script, its name."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A script in MONITOR: when it arrived, and when its last call inside began."""

    script: str
    at_s: float
    until_s: float


async def hops(target: Target, url: str, tokens: int, requests: int) -> dict[str, Any]:
    """One request at a time, three times so many: undisturbed, with SLOWLOG, with MONITOR.

    `url` is that of the target's own Redis. Raises ServerError when a request did not go the way
    that is known here.
    """
    asked = Requests(target, tokens)
    connection = Connection.from_url(url)
    async with aclosing(connection), lines(target, 1) as (line,):

        async def some() -> list[Whole]:
            return [await asked.whole(line) for _ in range(requests)]

        for _ in range(_WARM_UP):
            await asked.whole(line)
        undisturbed = await some()
        async with _slow_log(connection) as log:
            await some()
            scripts_s = _script_times(await log())
        async with _watching(connection, url) as watch:
            watched = await some()
    ran = list(read_monitor(watch.text()))
    found = [_hops(one, ran) for one in watched]
    return _summary(undisturbed, watched, found, scripts_s)


def _summary(
    undisturbed: Sequence[Whole],
    watched: Sequence[Whole],
    found: Sequence[Sequence[float]],
    scripts_s: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """The hops, each with its p50 and p99; those of scripts are from the log."""
    rows = []
    for place, (name, script) in enumerate(_HOPS):
        taken_s = scripts_s[script] if script else [one[place] for one in found]
        rows.append({"hop": name} | {f"p{rank}_s": percentile(taken_s, rank) for rank in (50, 99)})
    return {
        "requests": len(undisturbed),
        "p50_s": percentile([one.took_s for one in undisturbed], 50),
        "watched_p50_s": percentile([one.took_s for one in watched], 50),
        "hops": rows,
    }


def _hops(one: Whole, ran: Sequence[Ran]) -> list[float]:
    end_s = one.sent_s + one.took_s
    came_s, left_s = (int(text) / 1e6 for text in one.at_unit.split())
    within = [each for each in ran if one.sent_s <= each.at_s <= end_s]
    steps = []
    for name in _STEPS:
        step = next((each for each in within if each.script == name), None)
        if step is None:
            raise ServerError(f"Redis saw no {name} of a request: its hops cannot be told")
        steps.append(step)
    submit, claim, finish = steps
    return [
        submit.at_s - one.sent_s,
        submit.until_s - submit.at_s,
        claim.at_s - submit.until_s,
        claim.until_s - claim.at_s,
        came_s - claim.until_s,
        left_s - came_s,
        finish.at_s - left_s,
        finish.until_s - finish.at_s,
        end_s - finish.until_s,
    ]


def read_monitor(text: bytes) -> Iterator[Ran]:
    """The scripts in what MONITOR wrote, in order, each with the calls inside it."""
    names = {script.sha: script.name for script in load_scripts().values()}
    script, at_s, until_s = "", 0.0, 0.0
    for line in _LINE.finditer(text):
        now_s = float(line[1])
        if line["who"] == b"lua":
            until_s = now_s
            continue
        if script:
            yield Ran(script, at_s, until_s)
        script, at_s, until_s = "", now_s, now_s
        if line["command"] in {b"EVALSHA", b"EVAL"}:
            script = script_name((line["first"] or b"").decode(errors="replace"), names)
    if script:
        yield Ran(script, at_s, until_s)


def script_name(first: str, names: Mapping[str, str]) -> str:
    """A script by its hash or its text, whichever it was called with; empty for a strange one."""
    if text := _TEXT.match(first):
        return text[1]
    return names.get(first[:40], "")


def _script_times(log: Sequence[Sequence[Any]]) -> dict[str, list[float]]:
    """The seconds that each script took, as SLOWLOG has them."""
    names = {script.sha: script.name for script in load_scripts().values()}
    taken: dict[str, list[float]] = {}
    for entry in log:
        _, _, took_us, (command, *arguments), *_ = entry
        if command in {b"EVALSHA", b"EVAL"}:
            name = script_name(arguments[0].decode(errors="replace"), names)
            taken.setdefault(name, []).append(took_us / 1e6)
    return taken


@asynccontextmanager
async def _slow_log(connection: Connection) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Every command is logged while the block runs; gives what reads the log."""
    await connection.command("CONFIG", "SET", "slowlog-max-len", "100000")
    await connection.command("SLOWLOG", "RESET")
    await connection.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
    yield lambda: connection.command("SLOWLOG", "GET", "-1")
    await connection.command("CONFIG", "SET", "slowlog-log-slower-than", "10000")
    await connection.command("SLOWLOG", "RESET")


class _Watch(asyncio.Protocol):
    """Keeps what MONITOR writes; it is read when all is over, for it is much."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._wanted = b""
        self._seen = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        if self._wanted and self._wanted in b"".join(self._pieces[-2:]):
            self._seen.set()

    async def after(self, asking: Awaitable[object], wanted: bytes) -> None:
        """Ask for something, and wait until it shows. Raises TimeoutError."""
        self._wanted = wanted
        self._seen.clear()
        await asking
        async with asyncio.timeout(_WATCH_WITHIN_S):
            await self._seen.wait()
        self._wanted = b""

    def text(self) -> bytes:
        return b"".join(self._pieces)


@asynccontextmanager
async def _watching(connection: Connection, url: str) -> AsyncIterator[_Watch]:
    """MONITOR on a connection of its own; redis-py would read its lines while they are measured.

    When the block is over it has shown all that came meanwhile.
    """
    parts = urlsplit(url)
    user, password = parts.username or "default", unquote(parts.password or "")
    loop = asyncio.get_running_loop()
    transport, watch = await loop.create_connection(
        _Watch, parts.hostname or "", parts.port or 6379
    )

    async def begin() -> None:
        transport.write(f"AUTH {user} {password}\r\nMONITOR\r\n".encode())

    try:
        await watch.after(begin(), b"+OK\r\n+OK\r\n")
        yield watch
        await watch.after(connection.command("ECHO", _END), _END.encode())
    finally:
        transport.close()
