"""What steals cost, and when a long job is asked back."""

import math
from dataclasses import dataclass
from typing import Any

from common.keys import JobClass
from tests.lua.model_state import State

Reply = list[Any]

_SILENT_MS = 5000


@dataclass(frozen=True)
class Attempt:
    """A job in a unit's hands, as its dispatcher remembers it for ever."""

    job: str
    job_class: JobClass
    attempt: int
    unit: str
    gateway: str


@dataclass
class Steals(State):
    """Looks at prefills, and requests to end one."""

    def weigh(
        self, name: str, claimed: Attempt, behind: int, room: int, reply: Reply, *, over: bool
    ) -> None:
        job, member = self.jobs[claimed.job], f"{claimed.job}:{claimed.attempt}"
        if (job.unit, job.attempt) != (name, claimed.attempt):
            self.steals.pop(member, None)
            assert reply == ["SUPERSEDED"]
            return
        oldest_ms = self.now_ms - _SILENT_MS
        self.steals = {each: ms for each, ms in self.steals.items() if ms > oldest_ms}
        last_ms = self.steals.pop(member, None)
        if last_ms is not None:
            part = min(len(self.waiting("short")) / (len(self.steals) + 1), room)
            job.regret_ms += math.floor((part + behind) * (self.now_ms - last_ms) + 0.5)
        elif not over:
            job.regret_from = job.regret_ms
        regret_ms = job.regret_ms - job.regret_from
        if not over:
            self.steals[member] = self.now_ms
        elif last_ms is not None:
            prefill_ms = self.now_ms - job.claimed_ms
            self.stealing.update(steals=1, regret_ms=regret_ms, prefill_ms=prefill_ms)
            self.note("weighed", job.id)
        assert reply == ["OK", regret_ms]

    def revoke(self, scaler: str, claimed: Attempt, most: int, reply: Reply) -> None:
        job, first_byte_ms = self.jobs[claimed.job], self.jobs[claimed.job].first_byte_ms
        if scaler != self.leader:
            assert reply == ["NOT_LEADER"]
        elif not self.runs(job.id, claimed.attempt, claimed.unit):
            assert reply == ["SUPERSEDED"]
        elif first_byte_ms is not None and first_byte_ms >= job.claimed_ms:
            assert reply == ["BEGUN"]
        elif job.revoked >= most:
            assert reply == ["SPENT"]
        elif self.units[claimed.unit].role == "long":
            assert reply == ["LONG"]
        elif not self.waiting("short"):
            assert reply == ["UNNEEDED"]
        else:
            assert reply == ["OK"]
            self.note("revoked", job.id)
