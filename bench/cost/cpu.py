"""CPU time of processes, summed by the part of a system that each of them is."""

import os
from collections.abc import Iterable, Mapping
from typing import TypeVar

import psutil

from bench.client import ServerError

CLIENT, UNITS, ROUTER = "client", "units", "router"
_Each = TypeVar("_Each")
_MODULES = ("gateway", "dispatcher", "scaler")


class Parts:
    """Processes by part. Looking for those of a system takes a while: not while one is measured."""

    def __init__(self, units: Iterable[int], front: int | None) -> None:
        self._units = [psutil.Process(pid) for pid in units]
        self._front = psutil.Process(front) if front is not None else None
        self._processes: dict[str, list[psutil.Process]] = {}
        self._seen_s: dict[int, float] = {}
        self.look()

    def look(self) -> None:
        """Find the processes that there are now."""
        self._processes = {CLIENT: [psutil.Process(os.getpid())], UNITS: self._units}
        if self._front is None:
            return
        for process in (self._front, *self._front.children(recursive=True)):
            if part := _part(process.cmdline()):
                self._processes.setdefault(part, []).append(process)

    def of(self, part: str) -> list[psutil.Process]:
        return self._processes.get(part, [])

    def counts(self) -> dict[str, int]:
        return {part: len(processes) for part, processes in self._processes.items()}

    def spent_s(self) -> dict[str, float]:
        """Seconds of CPU until now, by part. Raises ServerError when a process has ended.

        Some of a router's come and go; those count as far as they were seen.
        """
        return {
            part: sum(self._spent_s(process, part) for process in processes)
            for part, processes in self._processes.items()
        }

    def _spent_s(self, process: psutil.Process, part: str) -> float:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess as error:
            if part != ROUTER:
                raise ServerError(f"{part} {process.pid} ended while it was measured") from error
        else:
            self._seen_s[process.pid] = float(times.user + times.system)
        return self._seen_s.get(process.pid, 0.0)


def grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {part: after[part] - before[part] for part in before}


def of_system(parts: Mapping[str, _Each]) -> dict[str, _Each]:
    """Without those that any system has around it."""
    return {part: each for part, each in parts.items() if part not in {CLIENT, UNITS}}


def _part(command: list[str]) -> str:
    """What a process is; empty for `adasplit up`, which looks after the others and serves none."""
    match command:
        case [_, "-m", "cli", "up", *_]:
            return ""
        case [_, "-m", module, *_] if module in _MODULES:
            return module
        case [binary, *_] if "valkey-server" in binary:
            return "redis"
    return ROUTER
