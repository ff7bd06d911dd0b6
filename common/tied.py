"""`python -m common.tied PARENT COMMAND...`: becomes a command that dies when its parent does.

Without it, a SIGKILL of `adasplit up` would leave its processes and their ports behind: the parent
gets no chance to stop them. A program of its own, and not a function between fork and exec, because
that is unsafe in a process with threads. Only Linux has the call; elsewhere the command just runs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        # SIGKILL and not SIGTERM: a drain needs Redis, which goes at the same moment.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the call, which then says nothing any more.
        if os.getppid() != parent:
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()
