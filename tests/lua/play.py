"""A pool in Redis and the model of it, side by side: every call goes to both."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from common.calls import Calls
from common.keys import CLASSES, JobClass
from common.looks import Looks
from common.models import Finish, Lease, NewJob, Outcome, Part, PartKind, Prefilling, Relay
from common.scripts import Arg, Call, Script
from common.steals import Weighed
from tests.lua.books import Reader, expected, words
from tests.lua.conftest import Clock
from tests.lua.model import Attempt, Model
from tests.lua.model_state import ALIVE_MS, Job, Unit
from tests.lua.play_settings import play_settings, rules

UNITS = ("a", "b", "c", "d")
GATEWAYS = ("g1", "g2", "g3")
KEEPER = "keeper"
"""A gateway that always beats while time passes: then it is not Redis that is away."""

SCALERS = ("scaler-1", "scaler-2")
OWNERS = {"": 1, "x": 1, "y": 4}
"""Who submits, each with its weight."""

OVERRIDES: dict[str, tuple[str, ...]] = {
    "worker_concurrency_limit": ("1", "4", "nonsense"),
    "worker_concurrency_limit_short": ("1", "4", "6"),
    "worker_concurrency_limit_long": ("1", "3"),
    "rasp_steal": ("0", "yes"),
    "rasp_steal_cooldown_s": ("0", "1.5", "-1"),
    "rasp_long_takes_short": ("off", "1"),
    "starvation_bound_s": ("0", "5", "60"),
    "max_queue_depth_short": ("1", "50"),
    "max_queue_depth_long": ("1", "50"),
    "max_queue_bytes": ("10", "100000"),
}

_ENDS = {"finished", "cancelled", "expired", "dead"}


class Play:
    """One pool. `client` is a synchronous client of a server or of fakeredis."""

    def __init__(self, client: Any, scripts: Mapping[str, Script]) -> None:
        self.settings = play_settings()
        self.clock = Clock()
        self.model = Model(self.clock.now_ms, rules(self.settings))
        self._client = client
        self._calls = Calls(scripts, self.settings, self.clock)
        self._looks = Looks(scripts, self.settings, self.clock)
        self.keys = self._calls.keys
        self._reader = Reader(client, self.keys)
        self._overrides: dict[str, str] = {}
        self._told: list[tuple[str, str]] = []
        self._again: Callable[[], None] | None = None
        self._numbers = 0

    def open(self) -> None:
        """Four units, two of each role, three gateways, and a leader."""
        for name, role in zip(UNITS, ("short", "short", "long", "long"), strict=True):
            self._redis("SET", self.keys.role(name), role)
            self.model.units[name] = Unit(role)
            self.register(name)
        for name in (*GATEWAYS, KEEPER):
            self.beat(name)
        self.lead(SCALERS[0])

    def _run(self, call: Call) -> list[Any]:
        reply = self._client.execute_command("EVAL", call.script.text, *call.arguments)
        return list(words(reply))

    def _redis(self, *args: Arg) -> None:
        self._client.execute_command(*args)

    # Time

    def advance(self, seconds: float) -> None:
        """Nobody beats: Redis is away, when it is long."""
        self.clock.advance(seconds)
        self.model.now_ms = self.clock.now_ms

    def pass_time(self, seconds: float, silent: Sequence[str] = ()) -> None:
        """All units that have not left and all known gateways beat, but these."""
        while seconds > 0:
            step_s = min(seconds, ALIVE_MS / 3000)
            self.advance(step_s)
            self.beat(KEEPER)
            seconds -= step_s
        for name, unit in self.model.units.items():
            if name not in silent and unit.beat_ms is not None and not unit.left:
                self.register(name)
        for name in GATEWAYS:
            if name not in silent and name in self.model.gateways:
                self.beat(name)

    # Calls

    def register(self, name: str) -> None:
        reply = self._run(self._calls.register(name, {"url": "http://unit"}))
        self.model.register(name, reply)

    def leave(self, name: str) -> None:
        self.model.leave(name, self._run(self._calls.leave(name)))

    def drain(self, name: str, *, draining: bool) -> None:
        assert self._run(self._calls.drain(name, draining=draining)) == ["OK"]
        self.model.units[name].draining = draining
        self.model.units[name].known = True

    def beat(self, name: str) -> None:
        self.model.beat(name, self._run(self._calls.beat(name)))

    def forget(self, name: str, *, dead_only: bool) -> None:
        reply = self._run(self._calls.forget(name, dead_only=dead_only))
        self.model.forget(name, reply, dead_only=dead_only)

    def sweep(self) -> None:
        """As a dispatcher does: cancel what a dead gateway held, then forget it."""
        for name in [name for name in GATEWAYS if self.model.gateway_gone(name)]:
            for job in list(self.model.jobs.values()):
                if job.gateway == name and job.state != "finished":
                    self.cancel(job.id, "cancelled")
            self.forget(name, dead_only=True)

    def submit(
        self,
        job_class: JobClass,
        gateway: str,
        body_bytes: int,
        timeout_s: float,
        owner: str = "",
        priority: int = 0,
    ) -> None:
        self._numbers += 1
        new = NewJob(
            id=f"job-{self._numbers}",
            job_class=job_class,
            tokens=100,
            gateway=gateway,
            route="/v1/completions",
            stream=True,
            body=b"x" * body_bytes,
            timeout_s=timeout_s,
            owner=owner,
            weight=OWNERS[owner],
            priority=priority,
        )
        self._submit(new)

    def _submit(self, new: NewJob) -> None:
        now_ms = self.clock()
        deadline_ms = now_ms + round(new.timeout_s * 1000)
        asked = (new.owner, new.weight, new.priority)
        job = Job(new.id, new.job_class, new.gateway, len(new.body), now_ms, deadline_ms, *asked)
        could = self._who_waits(new.job_class)
        before = self._reader.wakes(UNITS)
        reply = self._run(self._calls.submit(new, self.settings))
        self._check_wakes(self._reader.wakes(UNITS) - before, reply[0] == "OK", could)
        self.model.submit(job, reply)
        self._again = partial(self._submit, new)

    def cancel(self, name: str, outcome: Outcome) -> None:
        job = self.model.jobs.get(name)
        job_class, gateway = (job.job_class, job.gateway) if job else ("short", GATEWAYS[0])
        call = self._calls.cancel(name, job_class, gateway, "a reason", outcome)
        self.model.cancel(name, self._run(call), outcome)
        self._again = partial(self.cancel, name, outcome)

    def claim(self, name: str, most: int | None = None) -> None:
        self._listen()
        seen = self._run(self._looks.look(name, 0.0, None, self.settings))
        reply = self._run(self._calls.claim(name, self.settings, most))
        # Whom a look lets rest a claim would have given nothing.
        assert seen == ["CLAIM"] or not reply[3:]
        ended = {job: event for event, job in self._listen() if event in _ENDS}
        self.model.claim(name, reply, ended, most)
        self._again = partial(self.claim, name, most)

    def renew(self, name: str, held: Sequence[tuple[str, int]]) -> None:
        self.model.renew(name, held, self._run(self._calls.renew(name, held)))
        self._again = partial(self.renew, name, held)

    def finish(
        self, name: str, claimed: Attempt, outcome: Outcome, *, said: bool, rest: bool = False
    ) -> None:
        """Finish as a unit; `said`: with the end of the answer; `rest`: and no claim follows."""
        content = json.dumps({"outcome": outcome})
        end = Part(claimed.job, claimed.attempt, "end", content.encode(), 7)
        finish = Finish(
            claimed.job,
            claimed.attempt,
            claimed.job_class,
            claimed.gateway,
            outcome,
            parts=(end,) if said else (),
        )
        parts = {f"{claimed.job}:{claimed.attempt}:end:7": outcome} if said else {}
        coming = {role: len(woken - {name}) for role, woken in self._reader.woken().items()}
        reply = self._run(self._calls.finish(name, finish, self.settings, rest=rest))
        self.model.finish(name, claimed, outcome, parts, reply, rest=rest, coming=coming)
        self._again = partial(self.finish, name, claimed, outcome, said=said, rest=rest)

    def relay(
        self, name: str, run: str, number: int, attempts: Sequence[Attempt], *, heads: bool
    ) -> None:
        """Relay a chunk, or the head, of each of these attempts, to the gateway of the first."""
        gateway = attempts[0].gateway
        names = dict.fromkeys((each.job, each.attempt) for each in attempts)
        kind: PartKind = "head" if heads else "chunk"
        place = None if heads else 0
        parts = tuple(Part(job, attempt, kind, b"text", place) for job, attempt in names)
        reply = self._run(self._calls.relay(name, Relay(gateway, parts, run, number)))
        told = "head" if heads else "chunk:0"
        said = [(job, attempt, told, "text") for job, attempt in names]
        self.model.relay(name, gateway, (run, number), said, reply)
        self._again = partial(self.relay, name, run, number, attempts, heads=heads)

    def requeue(
        self,
        name: str,
        claimed: Attempt,
        *,
        spared: bool = False,
        revoked: bool = False,
        lapsed_only: bool = False,
    ) -> None:
        lease = Lease(claimed.job, claimed.attempt, claimed.job_class)
        could = self._who_waits(claimed.job_class) - {name}
        before = self._reader.wakes(UNITS)
        how = {"spared": spared, "revoked": revoked, "lapsed_only": lapsed_only}
        reply = self._run(self._calls.requeue(name, lease, claimed.gateway, "a reason", **how))
        if reply == ["OK"]:
            # Who gives a job back waits for no other until it claims again.
            self.model.units[name].asked = False
        self._check_wakes(self._reader.wakes(UNITS) - before, reply == ["OK"], could)
        self.model.requeue(name, claimed, reply, **how)
        self._again = partial(self.requeue, name, claimed, **how)

    def reclaim(self) -> None:
        """As dispatchers do: give back all that has lapsed, whosever it is."""
        newest = {each.job: each for each in self.model.attempts}
        for name, unit in self.model.units.items():
            for job in list(unit.leases):
                if unit.leases[job] <= self.model.judged_ms():
                    self.requeue(name, newest[job], lapsed_only=True)

    def weigh(self, name: str, claimed: Attempt, behind: int, room: int, *, over: bool) -> None:
        steal = Weighed(claimed.job, claimed.attempt, behind, room)
        reply = self._run(self._calls.weigh(name, steal, over=over))
        self.model.weigh(name, claimed, behind, room, reply, over=over)
        self._again = partial(self.weigh, name, claimed, behind, room, over=over)

    def revoke(self, scaler: str, claimed: Attempt, most: int) -> None:
        found = Prefilling(
            unit=claimed.unit,
            job_class=claimed.job_class,
            tokens=100,
            claimed_ms=0,
            streams=True,
            job=claimed.job,
            attempt=claimed.attempt,
        )
        reply = self._run(self._calls.revoke(scaler, found, most, "a reason"))
        self.model.revoke(scaler, claimed, most, reply)
        self._again = partial(self.revoke, scaler, claimed, most)

    def lead(self, scaler: str) -> None:
        self.model.lead(scaler, self._run(self._calls.lead(scaler, 3600.0)))

    def leader_lapses(self) -> None:
        self._redis("DEL", self.keys.leader)
        self.model.leader = None

    def flip(self, scaler: str, name: str, to: JobClass, *, cooled: bool) -> None:
        """Flip; `cooled`: under a policy without a cooldown."""
        policy = self.settings.model_copy(update={"qhap_cooldown_s": 0.0} if cooled else {})
        reply = self._run(self._calls.flip(scaler, name, to, "a reason", policy))
        self.model.flip(scaler, name, to, round(policy.qhap_cooldown_s * 1000), reply)
        self._again = partial(self.flip, scaler, name, to, cooled=cooled)

    def override(self, name: str, value: str | None) -> None:
        """Set a live override, or take it away."""
        self._overrides.pop(name, None)
        if value is None:
            self._redis("HDEL", self.keys.policy, name)
        else:
            self._redis("HSET", self.keys.policy, name, value)
            self._overrides[name] = value
        self.model.policy = rules(self.settings.under(self._overrides))

    def repeat(self) -> None:
        """Make the last call again, as one does that has lost the reply."""
        if self._again:
            self._again()

    # Facts

    def check(self) -> None:
        """Compare all that stands in Redis with what the model says."""
        model = self.model
        self._listen()
        assert Counter(self._told) == Counter(model.notes)
        ends = Counter(job for event, job in self._told if event in _ENDS)
        assert ends == Counter(job.id for job in model.jobs.values() if job.state == "finished")
        books = self._reader.books(model.jobs, model.units, model.gateways)
        self._check_leavers(books["units"])
        assert books == expected(model)
        self._check_waiting()
        self._check_tally()

    def _listen(self) -> list[tuple[str, str]]:
        heard = self._reader.events()
        self._told += heard
        return heard

    def _check_tally(self) -> None:
        """What is counted as it goes is what counting it anew would find."""
        _, _, alive, *_, short, long = self._run(self._looks.tally())
        model, of = self.model, {"short": short, "long": long}
        assert alive == sum(map(model.alive, model.units))
        for name in CLASSES:
            units, length, pending, returned, *_ = of[name]
            assert units == len(model.serving(name))
            assert length - pending + returned == len(model.waiting(name))
            fewest = {
                len(model.units[unit].leases): unit
                for unit in sorted(model.serving(name), reverse=True)
            }
            least = self._run(self._looks.least(name))
            assert least == (["OK", fewest[min(fewest)], min(fewest)] if fewest else ["NONE"])

    def _check_leavers(self, units: dict[str, dict[str, Any]]) -> None:
        """Who has left and still holds jobs counts as silent; since when is the script's choice."""
        for name, unit in self.model.units.items():
            if unit.left:
                assert units[name]["beat_ms"] < self.model.judged_ms() - ALIVE_MS, name
                unit.beat_ms = units[name]["beat_ms"]

    def _check_waiting(self) -> None:
        model, hungry = self.model, self._reader.hungry()
        for role, found in hungry.items():
            for name in found:
                assert model.units[name].asked, name
                assert model.units[name].role == role
        model.idle_hungry = {
            n for found in hungry.values() for n, score in found.items() if score < 0
        }

    def _who_waits(self, role: JobClass) -> set[str]:
        return {name for name in self._reader.hungry()[role] if self.model.alive(name)}

    def _check_wakes(self, wakes: int, is_in: bool, could: set[str]) -> None:  # noqa: FBT001
        """A job that waits wakes one unit at most, and one that has its role when there is one."""
        assert bool(is_in and could) <= wakes <= is_in

    def end(self) -> None:
        """Let every deadline pass: then nothing is left of any job but its outcome."""
        for each in reversed(self.model.attempts):
            self.finish(each.unit, each, "ok", said=True)
        self.pass_time(600.0)
        for name in UNITS:
            self.drain(name, draining=False)
            self.register(name)
        while any(self.model.waiting(name) for name in CLASSES):
            before = sum(len(self.model.waiting(name)) for name in CLASSES)
            for name in UNITS:
                self.claim(name)
            assert sum(len(self.model.waiting(name)) for name in CLASSES) < before
        self.check()
        assert all(job.state == "finished" for job in self.model.jobs.values())
        assert self._reader.leaked() == []
