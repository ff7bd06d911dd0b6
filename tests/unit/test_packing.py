"""A command goes out in the same bytes, whether or not a part of it is large."""

import hiredis
import pytest

from common.packing import packed

LARGE = b"x" * 100_000


@pytest.mark.parametrize("body", [b"", b"small", LARGE, b"\r\n" * 20_000])
def test_the_bytes_are_those_of_the_plain_packing(body: bytes) -> None:
    words = ("EVALSHA", "sha", 1, "key", 0.5, "é", body, "last")
    assert b"".join(packed(words)) == hiredis.pack_command(words)


def test_a_large_part_is_not_copied() -> None:
    pieces = packed(("XGROUP", "CREATE", "key", LARGE, LARGE))
    assert b"".join(pieces).startswith(b"*5\r\n$6\r\nXGROUP\r\n$6\r\nCREATE\r\n")
    assert sum(piece is LARGE for piece in pieces) == 2
