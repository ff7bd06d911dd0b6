"""Commands as the bytes that Redis reads, packed in C; what is large is not copied for it."""

from typing import Any

import hiredis

_LARGE_BYTES = 16 * 1024


def packed(words: tuple[Any, ...]) -> list[bytes]:
    """One command, in pieces that are written one after the other."""
    for word in words:
        if type(word) is bytes and len(word) > _LARGE_BYTES:
            return _in_pieces(words)
    return [hiredis.pack_command(words)]


def _in_pieces(words: tuple[Any, ...]) -> list[bytes]:
    """The same bytes, each large word in a piece of its own."""
    pieces, small = [], [b"*%d\r\n" % len(words)]
    for word in words:
        text = word if type(word) is bytes else str(word).encode()
        small.append(b"$%d\r\n" % len(text))
        if len(text) > _LARGE_BYTES:
            pieces += [b"".join(small), text]
            small = [b"\r\n"]
        else:
            small += [text, b"\r\n"]
    return [*pieces, b"".join(small)]
