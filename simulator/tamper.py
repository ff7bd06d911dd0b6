"""Spoils an answer on its way out: hangs, cuts and bytes that are not what they should be."""

import asyncio

import orjson

from simulator.errors import error_body
from simulator.exchange import Message, Send
from simulator.faults import Fault

_BROKEN_EVENT = b'data: {"id":"\xff\xfe broken\n\n'
_DONE = b"data: [DONE]\n\n"


class CutError(Exception):
    """The answer ends here; `clean` when HTTP's framing is to look complete."""

    def __init__(self, *, clean: bool) -> None:
        super().__init__("cut")
        self.clean = clean


class Tampered:
    """A `send` that lets `after_tokens` chunks pass and then does what its fault says."""

    def __init__(self, send: Send, fault: Fault, gone: asyncio.Event, speed: float) -> None:
        self._send = send
        self._fault = fault
        self._gone = gone
        self._speed = speed
        self._left = fault.after_tokens
        self._struck = False

    async def __call__(self, message: Message) -> None:
        body = message.get("body", b"")
        if not body:
            await self._send(message)
        elif self._fault.kind == "split":
            await self._send_split(message, body)
        else:
            await self._count(message, body)

    async def _count(self, message: Message, body: bytes) -> None:
        is_token = b'"role":"assistant","content":""' not in body
        if not self._struck and is_token:
            if self._left <= 0 or body.endswith(_DONE):
                self._struck = True
                await self._strike()
            self._left -= 1
        await self._send(message)

    async def _strike(self) -> None:
        match self._fault.kind:
            case "disconnect":
                raise CutError(clean=False)
            case "eof":
                raise CutError(clean=True)
            case "hang_mid":
                await hang(self._fault.seconds, self._gone, self._speed)
            case "malformed":
                await self._more(_BROKEN_EVENT)
            case "error_event":
                error = orjson.dumps(error_body("EngineCore encountered an issue.", 500))
                await self._more(b"data: %s\n\n%s" % (error, _DONE))
                raise CutError(clean=True)

    async def _send_split(self, message: Message, body: bytes) -> None:
        """In two writes, the first of which ends inside a character, if there is a long one."""
        at = next((at + 1 for at, byte in enumerate(body) if byte >= 0xC0), len(body) // 2)  # noqa: PLR2004 - the first byte of a long character
        await self._more(body[:at])
        # Two writes of one turn of the event loop would leave as one.
        await asyncio.sleep(0.001)
        await self._send({**message, "body": body[at:]})

    async def _more(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})


async def hang(seconds: float | None, gone: asyncio.Event, speed: float) -> None:
    """For so many simulated seconds, or until the client leaves."""
    try:
        await asyncio.wait_for(gone.wait(), None if seconds is None else seconds / speed)
    except TimeoutError:
        return
