"""One program as a child process, in a session of its own, with its log in a file."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cli.program import Program

_TAIL_BYTES = 8192


class Child:
    """A program that can be started again. `stopping` says that its end is wanted."""

    def __init__(self, program: Program, folder: Path, environment: Mapping[str, str]) -> None:
        self.program = program
        self.log = folder / f"{program.name}.log"
        self.ready = asyncio.Event()
        self.stopping = asyncio.Event()
        self._environment = environment
        self._process: Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.running else None

    async def start(self) -> None:
        # A session of its own: Ctrl-C reaches only the parent, which stops the rest in order.
        command = (sys.executable, "-m", "common.tied", str(os.getpid()), *self.program.command)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    async def wait(self) -> int:
        """The exit code, negative for a signal; at once when it is not running."""
        return await self._process.wait() if self._process else 0

    def terminate(self) -> None:
        if self._process and self.running:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """End it and whatever it started."""
        if self._process and self.running:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def tail(self, lines: int = 5) -> list[str]:
        """The last lines of its log."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-lines:]


def ending(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
