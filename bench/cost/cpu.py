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
    """Processes by part. Those of a system are found once: looking for them takes a while."""

    def __init__(self, units: Iterable[int], front: int | None) -> None:
        self._processes: dict[str, list[psutil.Process]] = {
            CLIENT: [psutil.Process(os.getpid())],
            UNITS: [psutil.Process(pid) for pid in units],
        }
        if front is not None:
            self._sort(psutil.Process(front))

    def _sort(self, front: psutil.Process) -> None:
        for process in (front, *front.children(recursive=True)):
            if part := _part(process.cmdline()):
                self._processes.setdefault(part, []).append(process)

    def of(self, part: str) -> list[psutil.Process]:
        return self._processes.get(part, [])

    def counts(self) -> dict[str, int]:
        return {part: len(processes) for part, processes in self._processes.items()}

    def spent_s(self) -> dict[str, float]:
        """Seconds of CPU until now, by part. Raises ServerError when a process has ended."""
        try:
            return {
                part: sum(_spent_s(process) for process in processes)
                for part, processes in self._processes.items()
            }
        except psutil.NoSuchProcess as error:
            raise ServerError(f"a process ended while it was measured: {error.name}") from error


def grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {part: after[part] - before[part] for part in before}


def of_system(parts: Mapping[str, _Each]) -> dict[str, _Each]:
    """Without those that any system has around it."""
    return {part: each for part, each in parts.items() if part not in {CLIENT, UNITS}}


def _spent_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


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
