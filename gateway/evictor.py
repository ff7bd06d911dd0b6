"""Ends answers whose clients have stopped to read: their bytes are memory, their jobs slots."""

import asyncio

from common.duty import sleep_or_stop
from gateway.mailbox import Mailboxes

_PART = 10
"""How many looks there are within the time that a client may take nothing."""


class Evictor:
    """A client that reads slowly but steadily is left alone."""

    def __init__(self, mailboxes: Mailboxes, client_stall_s: float) -> None:
        self._mailboxes = mailboxes
        self._client_stall_s = client_stall_s

    async def run(self, stop: asyncio.Event) -> None:
        while not await sleep_or_stop(stop, self._client_stall_s / _PART):
            self._mailboxes.shut_stalled(self._client_stall_s)
