"""Ports for what a run starts: blocks of free ones, looked for from a first one on."""

from common.server import PortTaken, listen

_LAST = 2**16 - 1


class NoPorts(Exception):
    """There are not so many free ports in a row; the message is one line for the user."""


class Ports:
    """Gives each port once. They lie below those that a system gives to connections by itself."""

    def __init__(self, first: int) -> None:
        self._first = self._next = first

    def block(self, number: int) -> int:
        """The first of so many free ports in a row. Raises NoPorts."""
        start = self._next
        while start + number <= _LAST:
            taken = [port for port in range(start, start + number) if not _free(port)]
            if not taken:
                self._next = start + number
                return start
            start = taken[-1] + 1
        raise NoPorts(f"there are not {number} free ports in a row from {self._first} on")


def _free(port: int) -> bool:
    try:
        listen("127.0.0.1", port).close()
    except PortTaken:
        return False
    return True
