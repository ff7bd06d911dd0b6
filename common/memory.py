"""Gives large pieces of memory back to the system as soon as they are free."""

import ctypes
import sys

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 64 * 1024
"""glibc begins with 128 KiB, and raises it to the largest piece that was ever freed."""


def give_back_large_pieces() -> None:
    """Call once, before much is allocated. Only glibc is told; other allocators do as they do.

    Else long prompts lie between small things in the heap, and what was taken for those that came
    together stays the process's own: half as much again as the prompts themselves.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
