"""Clients that behave as clients do, each sure of the bytes that it must receive."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from simulator.text import PIECES, draw_words, seed_of

MODEL = "simulated-llama-3-70b"
LONGEST_S = 150.0
_DEADLINES = (0.3, 1.0, 2.5)
_TRIES_S = 20.0
"""How long a balancer goes on looking for a gateway that accepts a connection."""

_BAD = (
    (b"{", 400),
    (b"[]", 400),
    (b'{"model": "nobody", "prompt": "x"}', 404),
    (b'{"prompt": 7, "model": "%s"}' % MODEL.encode(), 400),
    (b"\xff\xfe", 400),
)


@dataclass
class Plan:
    """One request. `canary`: a text that stands in no other prompt."""

    number: int
    canary: str
    long: bool
    stream: bool
    tokens: int
    words: int
    gateway: int
    leaves_after_s: float | None = None
    timeout_s: float | None = None
    slow: bool = False
    bad: tuple[bytes, int] | None = None

    @property
    def prompt(self) -> str:
        return self.canary + " word" * self.words

    def expected(self, unit: str) -> str:
        """The text that a unit must write for this prompt: units have their numbers for seeds."""
        seed = seed_of(int(unit.rpartition("-")[2]), 0, self.prompt.encode(), 0)
        return "".join(PIECES[one] for one in draw_words(seed, self.tokens))

    @property
    def body(self) -> bytes:
        if self.bad:
            return self.bad[0]
        fields = {
            "model": MODEL, "prompt": self.prompt, "max_tokens": self.tokens,
            "ignore_eos": True, "stream": self.stream,
        }  # fmt: skip
        return json.dumps(fields).encode()


@dataclass
class Result:
    """What one client saw. `kind` is the one end of the request; times are the wall clock's."""

    plan: Plan
    begun_at: float
    ended_at: float = 0.0
    kind: str = ""
    job: str = ""
    unit: str = ""
    attempt: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    received: bytes = field(default=b"", repr=False)


def plan(number: int, rng: random.Random) -> Plan:
    long = rng.random() < 0.15
    chosen = Plan(
        number=number,
        canary=f"canary-{number}-{rng.getrandbits(32):08x}",
        long=long,
        stream=rng.random() < 0.6,
        tokens=rng.randint(20, 60) if long else rng.randint(30, 160),
        words=rng.randint(4500, 12_000) if long else rng.randint(10, 400),
        gateway=rng.randrange(2),
    )
    lot = rng.random()
    if lot < 0.06:
        chosen.leaves_after_s = rng.uniform(0.02, 1.5)
    elif lot < 0.11:
        chosen.timeout_s = rng.choice(_DEADLINES)
    elif lot < 0.14:
        chosen.slow = True
    elif lot < 0.17:
        chosen.bad = rng.choice(_BAD)
    return chosen


class Load:
    """Open-loop arrivals with a burst now and then, until it is told to stop."""

    def __init__(self, urls: list[str], rng: random.Random, per_second: float) -> None:
        self._urls = urls
        self._rng = rng
        self._per_second = per_second
        self.results: list[Result] = []
        self._open: set[asyncio.Task[None]] = set()
        self.on_end: Callable[[Result], None] = lambda _: None

    @property
    def open(self) -> int:
        return len(self._open)

    async def run(self, stop: asyncio.Event) -> None:
        """Returns once all answers have ended."""
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            while not stop.is_set():
                for _ in range(40 if self._rng.random() < 0.004 else 1):
                    self._send(session)
                await asyncio.sleep(self._rng.expovariate(self._per_second))  # arrivals
            if self._open:
                await asyncio.wait(self._open)

    def _send(self, session: aiohttp.ClientSession) -> None:
        chosen = plan(len(self.results), self._rng)
        result = Result(chosen, time.time())
        self.results.append(result)
        task = asyncio.create_task(self._one(session, result))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _one(self, session: aiohttp.ClientSession, result: Result) -> None:
        limit_s = result.plan.leaves_after_s or LONGEST_S
        try:
            async with asyncio.timeout(limit_s):
                await self._until_accepted(session, result)
        except TimeoutError:
            result.kind = "left" if result.plan.leaves_after_s else "hung"
        result.ended_at = time.time()
        self.on_end(result)

    async def _until_accepted(self, session: aiohttp.ClientSession, result: Result) -> None:
        """As a balancer does: who is not there, or gone before a byte, is passed over."""
        at = result.plan.gateway
        looking_since = None
        while True:
            asked_at = time.time()
            try:
                await self._ask(session, self._urls[at % len(self._urls)], result)
            except (
                aiohttp.ClientConnectorError,
                aiohttp.ServerDisconnectedError,
                OSError,
            ) as error:
                result.refused += 1
                if looking_since is None or time.time() - asked_at > 1:
                    # One that was accepted and then lost its gateway looks anew.
                    looking_since = time.time()
                if time.time() - looking_since > _TRIES_S:
                    result.kind = f"unreachable {type(error).__name__}"
                    return
                at += 1
                await asyncio.sleep(0.05)  # a balancer does not spin
            else:
                return

    async def _ask(self, session: aiohttp.ClientSession, url: str, result: Result) -> None:
        headers = {"content-type": "application/json"}
        if result.plan.timeout_s:
            headers["x-adasplit-timeout-s"] = str(result.plan.timeout_s)
        async with session.post(
            url + "/v1/completions",
            data=result.plan.body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, connect=10),
        ) as answer:
            result.job = answer.headers.get("x-adasplit-job", "")
            result.unit = answer.headers.get("x-adasplit-unit", "")
            result.attempt = int(answer.headers.get("x-adasplit-attempt", 0))
            try:
                async for chunk in answer.content.iter_any():
                    result.received += chunk
                    if result.plan.slow:
                        await asyncio.sleep(0.05)  # a reader that takes its time
            except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, OSError):
                result.kind = "cut"
                return
            judge(result, answer.status, answer.headers.get("content-type", ""))


def judge(result: Result, status: int, content_type: str) -> None:
    """Say how the request ended, and hold every byte against what it must be."""
    if result.plan.bad:
        expected = status == result.plan.bad[1]
        result.kind = "refused" if expected else f"bad input, {status} {_code(result.received)}"
        return
    if status != 200:
        result.kind = f"{status} {_code(result.received)}"
        return
    if content_type.startswith("text/event-stream"):
        _judge_stream(result)
    else:
        _judge_whole(result)


def _judge_whole(result: Result) -> None:
    try:
        answer = json.loads(result.received)
        text = answer["choices"][0]["text"]
    except (ValueError, KeyError, IndexError):
        result.kind = "garbled"
        return
    result.kind = "ok"
    _hold(result, text, {answer["id"]}, whole=True)


def _judge_stream(result: Result) -> None:
    text, ids, ended = "", set(), ""
    for event in result.received.split(b"\n\n"):
        if event == b"data: [DONE]":
            ended = ended or "ok"
        elif event:
            try:
                fields: dict[str, Any] = json.loads(event.removeprefix(b"data: "))
            except ValueError:
                result.kind = "garbled"
                return
            if "error" in fields:
                ended = f"broken {fields['error'].get('code') or fields['error'].get('type')}"
            else:
                ids.add(fields["id"])
                text += "".join(choice["text"] for choice in fields["choices"])
    result.kind = ended or "ended without a word"
    _hold(result, text, ids, whole=ended == "ok")


def _hold(result: Result, text: str, ids: set[str], *, whole: bool) -> None:
    expected = result.plan.expected(result.unit)
    if len(ids) > 1:
        result.wrong.append(f"bytes of {len(ids)} attempts")
    if not (text == expected if whole else expected.startswith(text)):
        result.wrong.append(f"not its own text, or not all of it: {len(text)} of {len(expected)}")


def _code(received: bytes) -> str:
    try:
        error = json.loads(received)["error"]
    except (ValueError, KeyError, TypeError):
        return "without an error"
    return str(error.get("code") or error.get("type"))
