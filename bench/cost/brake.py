"""Gives processes a share of a core each, so that they are the limit, nothing else.

As `cpu.max` of a control group does it, for which one needs to be root: a process that has used
its time of a period stands still until the next one. What it did not use is gone; what it used
beyond is taken from the next. `python -m bench.cost.brake` is the process that looks after that.
"""

import argparse
import asyncio
import select
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psutil

_PERIOD_S = 0.02
_LOOK_S = 0.001


class Quota:
    """What one process may still use, in seconds of CPU; `share` is that of a core."""

    def __init__(self, process: psutil.Process, share: float) -> None:
        self._process = process
        self._each_s = share * _PERIOD_S
        self._left_s = self._each_s
        self._seen_s = _used_s(process.pid)
        self._stopped = False

    def look(self) -> None:
        """Stop it when nothing is left."""
        used_s = _used_s(self._process.pid)
        self._left_s -= used_s - self._seen_s
        self._seen_s = used_s
        if self._left_s <= 0 and not self._stopped:
            self._process.suspend()
            self._stopped = True

    def renew(self) -> None:
        """A period begins."""
        self._left_s = min(self._left_s, 0.0) + self._each_s
        if self._left_s > 0:
            self.release()

    def release(self) -> None:
        if self._stopped:
            self._process.resume()
            self._stopped = False


def _used_s(pid: int) -> float:
    """Its CPU time to the nanosecond, where the kernel's files count in hundredths of a second.

    The number of its clock is what clock_getcpuclockid(3) makes of a process.
    """
    return time.clock_gettime((~pid << 3) | 2)


@asynccontextmanager
async def braked(processes: Sequence[psutil.Process], share: float) -> AsyncIterator[None]:
    """While the block runs, each of them has this share of a core; 1 is all of it."""
    if share >= 1 or not processes:
        yield
        return
    brake = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.cost.brake", "--share", str(share)),
        *(str(process.pid) for process in processes),
        stdin=asyncio.subprocess.PIPE,
    )
    try:
        yield
    finally:
        # At the end of its input, which also comes when this process is killed, it lets all go.
        await brake.communicate(b"")


def _brake(processes: Sequence[psutil.Process], share: float) -> None:
    """Until standard input ends."""
    quotas = [Quota(process, share) for process in processes]
    try:
        ends_s = time.monotonic() + _PERIOD_S
        while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
            for quota in quotas:
                quota.look()
            if time.monotonic() >= ends_s:
                ends_s += _PERIOD_S
                for quota in quotas:
                    quota.renew()
    finally:
        for quota in quotas:
            quota.release()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cost.brake", description=__doc__)
    parser.add_argument("--share", type=float, required=True)
    parser.add_argument("pids", type=int, nargs="+", metavar="PID")
    given = parser.parse_args()
    _brake([psutil.Process(pid) for pid in given.pids], given.share)


if __name__ == "__main__":
    main()
