"""Private folders of a process, and the removal of those that a killed one left behind."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def private_folder(what: str) -> Iterator[Path]:
    """A folder that only this user reaches, while the block runs.

    Whoever was killed left its own behind, with what was in it: that goes first.
    """
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"adasplit-[0-9]*-{what}-*"):
        # Another process may be about to remove the same.
        with suppress(FileNotFoundError):
            if left.stat().st_uid == os.getuid() and not lives(int(left.name.split("-")[1])):
                shutil.rmtree(left, ignore_errors=True)
    prefix = f"adasplit-{os.getpid()}-{what}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
