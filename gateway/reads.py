"""Reads what clients send in small pieces, through memory that is there already.

A read of 256 KiB, as uvloop does them, is memory new to the process each time: the system hands it
over page by page, which costs thirty times what is then done with the bytes. While the prompts of
twenty clients were read so, nobody's tokens were passed on.
"""

import asyncio
from collections.abc import Callable
from typing import Any

_READ_BYTES = 60 * 1024
"""Copies of so much come from the heap (`common.memory`), and pause a client at the second read."""


class Reads(asyncio.BufferedProtocol):
    """Stands before the protocol of one connection; all connections have one buffer."""

    def __init__(self, protocol: asyncio.Protocol, buffer: memoryview) -> None:
        self._protocol = protocol
        self._buffer = buffer

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's own signature
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(bytes(self._buffer[:nbytes]))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


def in_small_reads(make: Callable[..., asyncio.Protocol]) -> Callable[..., Reads]:
    """Makes connections of a protocol that read so."""
    buffer = memoryview(bytearray(_READ_BYTES))

    def made(**given: Any) -> Reads:
        return Reads(make(**given), buffer)

    return made
