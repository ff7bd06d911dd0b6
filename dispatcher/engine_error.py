"""The event by which a server says inside a stream that its engine has failed.

vLLM ends such a stream in order, with this event and `[DONE]` (seen on 0.32): to HTTP the answer is
whole, and to its client it is none.
"""

import re
from dataclasses import dataclass

# No text can forge it: inside a JSON string the quote would be escaped.
ERROR_BEGINS = b'data: {"error"'
_CODE = re.compile(rb'"code":\s*(\d{1,9})(?!\d)')
_MESSAGE = re.compile(rb'"message":\s*"([^"\\]{1,200})')
# Older servers give every error inside a stream the code 400, also that of a dead engine.
_DEAD = re.compile(rb'"message":\s*"EngineCore')
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class EngineError:
    """`place`: how many bytes of the chunk come before it."""

    place: int
    reason: str


def engine_error(before: bytes, chunk: bytes) -> EngineError | None:
    """The error event that begins in this chunk, or at the end of the bytes before it.

    One with a code below 500 is the request's affair, as an answer of that status would be: None.
    """
    overlap = before[1 - len(ERROR_BEGINS) :]
    at = (overlap + chunk).find(ERROR_BEGINS)
    if at < 0:
        return None
    event = (overlap + chunk)[at:]
    code, message = _CODE.search(event), _MESSAGE.search(event)
    if code and int(code[1]) < _SERVER_ERROR and not _DEAD.search(event):
        return None
    said = message[1].decode(errors="replace") if message else "it does not say why"
    return EngineError(max(0, at - len(overlap)), f"the engine failed: {said}")
