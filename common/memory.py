"""How a process that lives long treats memory: what is free goes back, what stays is left alone."""

import ctypes
import gc
import sys
from typing import Any

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 64 * 1024
"""glibc begins with 128 KiB, and raises it to the largest piece that was ever freed."""

_YOUNG_OBJECTS = 10_000
"""Python begins with 700, fewer than a hundred answers under way have, and looks through all of
them each time. So many take a fifth of a millisecond."""


def give_back_large_pieces() -> None:
    """Call once, before much is allocated. Only glibc is told; other allocators do as they do.

    Else long prompts lie between small things in the heap, and what was taken for those that came
    together stays the process's own: half as much again as the prompts themselves.
    """
    if mallopt := _of_c("mallopt"):
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def settle() -> None:
    """Call once, when all has been made that stays.

    Else the collector of cycles looks through every module and class now and then, 0.1 s in which
    no token is passed on, and what was needed to make them remains in holes of the heap.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
    if trim := _of_c("malloc_trim"):
        trim(0)


def _of_c(name: str) -> Any:
    """A function of the C library, where it has one of this name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
