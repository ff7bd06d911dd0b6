"""What design.md says that a pool does, in sets, lists and whole numbers; knows nothing of Redis.

Every method is told what was asked and what the script answered. It asserts that the answer is a
legal one, and follows it where several are: the model never decides for the script.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.keys import CLASSES, JobClass, other_class
from tests.lua.model_claim import Given, check_claim
from tests.lua.model_state import ALIVE_MS, LEASE_MS, MAX_ATTEMPTS, Gateway, Job, Unit
from tests.lua.model_steals import Attempt, Reply, Steals


@dataclass
class Model(Steals):
    """The pool as it must be."""

    attempts: list[Attempt] = field(default_factory=list)

    # Heartbeats

    def register(self, name: str, reply: Reply) -> None:
        self._feel_pulse()
        unit = self.units.setdefault(name, Unit())
        unit.beat_ms, unit.left, unit.known = self.now_ms, False, True
        if not unit.leases and unit.idle_ms is None:
            unit.idle_ms = self.now_ms
        assert reply[:2] == ["OK", unit.role]

    def leave(self, name: str, reply: Reply) -> None:
        unit = self.units[name]
        unit.asked = False
        if unit.leases:
            unit.left = True
            assert reply == ["HELD", len(unit.leases)]
            return
        # Its role and that it is to drain outlive it.
        unit.beat_ms, unit.left, unit.idle_ms = None, False, None
        unit.relayed, unit.known = None, unit.draining
        assert reply == ["OK"]

    def beat(self, name: str, reply: Reply) -> None:
        self._feel_pulse()
        gateway = self.gateways.setdefault(name, Gateway())
        gateway.beat_ms = self.now_ms
        if gateway.answers is None:
            gateway.answers = [{"opened": name}]
        assert reply == ["OK"]

    def forget(self, name: str, reply: Reply, *, dead_only: bool) -> None:
        if dead_only and not self.gateway_gone(name):
            assert reply == ["ALIVE"]
            return
        self.gateways.pop(name, None)
        assert reply == ["OK"]

    def _feel_pulse(self) -> None:
        """Note a heartbeat; the one before it was long ago only if Redis was away."""
        last_ms = self.pulse_ms
        if last_ms is not None and self.now_ms - last_ms > ALIVE_MS / 2:
            self.spoke_ms = self.last_word_ms()
            self.grace_ms = self.now_ms + ALIVE_MS
        self.pulse_ms = self.now_ms

    # Jobs, from the gateway's side

    def submit(self, job: Job, reply: Reply) -> None:
        if reply[0] != "NOGATEWAY":
            # Nobody here has limits.
            assert reply[-4:] == [0, 0, 0, 0]
            reply = reply[:-4]
        known = self.jobs.get(job.id)
        if known:
            assert reply == ["EXISTS", known.state]
            return
        gateway = self.gateways.get(job.gateway)
        depth = len(self.waiting(job.job_class))
        if gateway is None:
            assert reply == ["NOGATEWAY"]
        elif depth >= self.policy.depths[job.job_class]:
            assert reply == ["FULL", "depth", depth]
        elif self.held_bytes() + job.body_bytes > self.policy.max_bytes:
            assert reply == ["FULL", "bytes", depth]
        else:
            assert reply[0] == "OK"
            gateway.beat_ms = self.now_ms
            self.jobs[job.id] = job
            self.enter(job)
            self.note("submitted", job.id)

    def cancel(self, name: str, reply: Reply, outcome: str) -> None:
        job = self.jobs.get(name)
        if job is None:
            assert reply == ["UNKNOWN"]
        elif job.state == "finished":
            assert reply == ["FINISHED", job.outcome]
        elif job.state == "running":
            job.cancel_as = job.cancel_as or outcome
            assert reply == ["ASKED", job.unit]
        else:
            self.end(job, outcome)
            assert reply == ["OK"]

    # Jobs, from the dispatcher's side

    def claim(self, name: str, reply: Reply, ended: Mapping[str, str], most: int | None) -> None:
        """Follow a claim. `ended`: the jobs that it ended without handing them out."""
        unit = self.units[name]
        unit.asked = False
        if unit.draining:
            assert reply == ["DRAINING"]
            assert not ended
            return
        status, role, wait_ms, *rows = reply
        assert (status, role) == ("OK", unit.role)
        given = [Given(*row[:3], row[3]) for row in rows]
        self.order = check_claim(self, name, given, ended, wait_ms, most)
        for job, outcome in ended.items():
            self.end(self.jobs[job], outcome)
        for each, row in zip(given, rows, strict=True):
            self._hand_out(name, each, row)
        unit.asked = self.room(name, unit.role) > 0

    def _hand_out(self, name: str, given: Given, row: Sequence[Any]) -> None:
        job, unit = self.jobs[given.job], self.units[name]
        self._stop_waiting(job)
        job.state, job.unit, job.attempt = "running", name, job.attempt + 1
        job.claimed_ms = self.now_ms
        unit.leases[job.id] = self.now_ms + LEASE_MS
        unit.idle_ms = None
        assert given.attempt == job.attempt
        told = (row[1], int(row[4]), int(row[5]), int(row[6]), row[7], len(row[10]), int(row[11]))
        asked = (job.job_class, job.submitted_ms, self.now_ms, job.deadline_ms, job.gateway)
        assert told == (*asked, job.body_bytes, job.queued_ms or job.submitted_ms)
        is_own = job.job_class == unit.role or given.why == "requeued"
        self.note("claimed" if is_own else "stolen", job.id)
        self.attempts.append(Attempt(job.id, job.job_class, job.attempt, name, job.gateway))

    def renew(self, name: str, held: Iterable[tuple[str, int]], reply: Reply) -> None:
        superseded = []
        for job, attempt in held:
            if self.runs(job, attempt, name):
                self.units[name].leases[job] = self.now_ms + LEASE_MS
            else:
                superseded.append(job)
        assert reply == ["OK", *superseded]

    def finish(
        self,
        name: str,
        claimed: Attempt,
        outcome: str,
        parts: Mapping[str, str],
        reply: Reply,
        *,
        rest: bool,
        coming: Mapping[JobClass, int],
    ) -> None:
        """`coming`: other units of each role that were told to claim and have not done so."""
        if not self.runs(claimed.job, claimed.attempt, name):
            assert reply == ["SUPERSEDED", "CLAIM"]
            return
        job = self.jobs[claimed.job]
        if outcome == "cancelled" and job.cancel_as:
            outcome = job.cancel_as
        self._free(job)
        self.end(job, outcome, said=False, ran=True)
        delivered = self.deliver(job.gateway, parts)
        rests = rest and not self._finds(name, coming)
        assert reply == ["OK" if delivered else "GONE", "REST" if rests else "CLAIM"]
        unit = self.units[name]
        if rests and not unit.draining and self.room(name, unit.role):
            unit.asked = True

    def _finds(self, name: str, coming: Mapping[JobClass, int]) -> bool:
        """Whether something waits that this unit may take and that nobody is coming for."""
        role = self.units[name].role
        own, others = (len(self.waiting(each)) for each in (role, other_class(role)))
        if own > coming[role] and self.room(name, role):
            return True
        return own + others > sum(coming.values()) and self.may_take_other(name)

    def relay(
        self,
        name: str,
        gateway: str,
        number: tuple[str, int],
        parts: Sequence[tuple[str, int, str, str]],
        reply: Reply,
    ) -> None:
        """Follow a relay of (job, attempt, kind, content), numbered (run, number)."""
        if number[1] and self._was_relayed(name, number):
            assert reply == ["OK"]
            return
        batch, superseded = {}, []
        for job, attempt, kind, content in parts:
            if self.runs(job, attempt, name):
                batch[f"{job}:{attempt}:{kind}"] = content
                if kind == "head":
                    self.jobs[job].first_byte_ms = self.now_ms
            elif job not in superseded:
                superseded.append(job)
        status = "OK" if self.deliver(gateway, batch) else "GONE"
        assert reply == [status, *superseded]

    def _was_relayed(self, name: str, number: tuple[str, int]) -> bool:
        unit = self.units[name]
        last = unit.relayed
        if last and last[0] == number[0] and number[1] <= last[1]:
            return True
        if unit.known:
            unit.relayed = number
        return False

    def requeue(
        self,
        name: str,
        claimed: Attempt,
        reply: Reply,
        *,
        spared: bool,
        revoked: bool,
        lapsed_only: bool,
    ) -> None:
        job, leases = self.jobs[claimed.job], self.units[name].leases
        runs = self.runs(job.id, claimed.attempt, name)
        if not runs and (not lapsed_only or job.id in leases):
            assert reply == ["SUPERSEDED"]
        elif lapsed_only and (not runs or leases[job.id] > self.judged_ms()):
            assert reply == ["HELD"]
        else:
            self._free(job)
            job.revoked += revoked
            self._give_back(job, reply, spared=spared or revoked, reclaimed=lapsed_only)

    def _give_back(self, job: Job, reply: Reply, *, spared: bool, reclaimed: bool) -> None:
        job.failures += not spared
        if job.cancel_as:
            assert reply == [job.cancel_as.upper()]
            self.end(job, job.cancel_as)
        elif job.failures >= MAX_ATTEMPTS:
            assert reply == ["DEAD"]
            self.end(job, "dead")
        else:
            assert reply == ["OK"]
            job.state, job.queued_ms = "queued", self.now_ms
            self.again[job.job_class].append(job.id)
            self.note("reclaimed" if reclaimed else "requeued", job.id)

    def _free(self, job: Job) -> None:
        unit = self.units[job.unit]
        del unit.leases[job.id]
        if not unit.leases:
            unit.idle_ms = self.now_ms

    # Roles

    def lead(self, scaler: str, reply: Reply) -> None:
        if self.leader not in {None, scaler}:
            assert reply == ["STANDBY", self.leader]
            return
        self.leader = scaler
        assert reply == ["LEADER"]

    def flip(self, scaler: str, name: str, to: JobClass, cooldown_ms: int, reply: Reply) -> None:
        unit = self.units[name]
        if scaler != self.leader:
            assert reply == ["NOT_LEADER", self.leader or ""]
        elif self.now_ms < self.cooled_ms:
            assert reply == ["COOLDOWN"]
        elif unit.role == to:
            assert reply == ["SAME"]
        elif not self.alive(name):
            assert reply == ["DEAD"]
        else:
            self._flip_between_live(name, to, cooldown_ms, reply)

    def _flip_between_live(self, name: str, to: JobClass, cooldown_ms: int, reply: Reply) -> None:
        count = {role: len(self.serving(role)) for role in CLASSES}
        min_short, min_long = self.policy.min_short, self.policy.min_long
        if to == "long" and count["short"] - 1 < min_short:
            assert reply == ["MIN_SHORT", count["short"]]
        elif to == "short" and count["short"] >= min_short and count["long"] - 1 < min_long:
            assert reply == ["MIN_LONG", count["long"]]
        else:
            assert reply == ["OK"]
            self.units[name].role = to
            self.units[name].asked = False
            self.cooled_ms = max(self.cooled_ms, self.now_ms + cooldown_ms)
            self.note("flipped", name)
            assert to == "short" or len(self.serving("short")) >= min_short
