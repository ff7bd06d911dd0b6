"""What a pool holds, and the words of design.md that are questions about it."""

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from common.keys import CLASSES, JobClass, other_class
from tests.lua.model_order import COST, Order, Place

ALIVE_MS = 10_000
LEASE_MS = 15_000
MAX_ATTEMPTS = 3
DEAD_BODIES_KEPT = 2
DEAD_BODIES_BYTES = 40


@dataclass
class Job:
    """A job from its submit on; `failures` are the attempts that count."""

    id: str
    job_class: JobClass
    gateway: str
    body_bytes: int
    submitted_ms: int
    deadline_ms: int
    owner: str = ""
    weight: int = 1
    priority: int = 0
    state: str = "queued"
    attempt: int = 0
    failures: int = 0
    unit: str = ""
    cancel_as: str = ""
    outcome: str = ""
    queued_ms: int = 0
    claimed_ms: int = 0
    first_byte_ms: int | None = None
    revoked: int = 0
    regret_ms: int = 0
    regret_from: int = 0


@dataclass
class Unit:
    """A unit; `asked`: it has free slots, found nothing more, and has not been told since."""

    role: JobClass = "short"
    beat_ms: int | None = None
    known: bool = False
    left: bool = False
    draining: bool = False
    asked: bool = False
    idle_ms: int | None = None
    relayed: tuple[str, int] | None = None
    leases: dict[str, int] = field(default_factory=dict)


@dataclass
class Gateway:
    """A gateway; `answers` are the batches of its reply stream, None when there is no stream."""

    beat_ms: int = 0
    answers: list[dict[str, str]] | None = None


@dataclass
class Rules:
    """The policy's numbers as they hold now."""

    limits: dict[str, int]
    depths: dict[str, int]
    max_bytes: int
    min_short: int
    min_long: int
    steal: bool
    steal_cooldown_ms: int
    borrow: bool
    bound_ms: int


@dataclass
class State:
    """Everything in a pool, and what must hold of it."""

    now_ms: int
    policy: Rules
    jobs: dict[str, Job] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=dict)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    fresh: dict[JobClass, list[str]] = field(default_factory=lambda: {c: [] for c in CLASSES})
    order: dict[JobClass, Order] = field(default_factory=lambda: {c: Order() for c in CLASSES})
    again: dict[JobClass, list[str]] = field(default_factory=lambda: {c: [] for c in CLASSES})
    notes: list[tuple[str, str]] = field(default_factory=list)
    dead_bodies: list[Job] = field(default_factory=list)
    idle_hungry: set[str] = field(default_factory=set)
    steals: dict[str, int] = field(default_factory=dict)
    stealing: Counter[str] = field(default_factory=Counter)
    leader: str | None = None
    cooled_ms: int = 0
    pulse_ms: int | None = None
    spoke_ms: int = 0
    grace_ms: int = 0

    # Silence

    def last_word_ms(self) -> int:
        """The last heartbeat before the outage; one in the grace of another belongs to that."""
        assert self.pulse_ms is not None
        return self.spoke_ms if self.pulse_ms < self.grace_ms else self.pulse_ms

    def judged_ms(self) -> int:
        """Up to when silence counts."""
        if self.pulse_ms is None:
            return self.now_ms
        if self.now_ms - self.pulse_ms > ALIVE_MS / 2:
            return self.last_word_ms()
        return self.spoke_ms if self.now_ms < self.grace_ms else self.now_ms

    def gateway_gone(self, name: str) -> bool:
        gateway = self.gateways.get(name)
        return gateway is None or gateway.beat_ms < self.judged_ms() - ALIVE_MS

    def alive(self, name: str) -> bool:
        unit = self.units[name]
        if unit.beat_ms is None or unit.left:
            return False
        return unit.beat_ms >= self.judged_ms() - ALIVE_MS

    def serving(self, role: JobClass) -> list[str]:
        """The units that count as Short or Long: alive, and not draining."""
        return [
            name
            for name, unit in self.units.items()
            if self.alive(name) and not unit.draining and unit.role == role
        ]

    # Jobs

    def runs(self, job: str, attempt: int, unit: str) -> bool:
        known = self.jobs[job]
        return (known.state, known.attempt, known.unit) == ("running", attempt, unit)

    def waiting(self, job_class: JobClass) -> list[str]:
        """Requeued ones and new ones, each as they came."""
        return self.again[job_class] + self.fresh[job_class]

    def enter(self, job: Job) -> None:
        """Let a new job wait."""
        self.fresh[job.job_class].append(job.id)
        cost = COST // job.weight
        place = Place(job.id, job.owner, job.submitted_ms, job.priority, cost)
        self.order[job.job_class].add(place)

    def doom(self, job: str) -> str:
        """As what a waiting job is to end instead of being handed out; empty when it is not."""
        if self.jobs[job].deadline_ms <= self.now_ms:
            return "expired"
        return "cancelled" if self.gateway_gone(self.jobs[job].gateway) else ""

    def held_bytes(self) -> int:
        return sum(job.body_bytes for job in self.jobs.values() if job.state != "finished")

    def end(self, job: Job, outcome: str, *, said: bool = True, ran: bool = False) -> None:
        """Give a job its one outcome; `said`: the script itself tells the gateway."""
        assert job.state != "finished"
        self._stop_waiting(job)
        job.state, job.outcome = "finished", outcome
        if outcome == "dead":
            self._keep_body(job)
        if said:
            self.deliver(job.gateway, {f"{job.id}:{job.attempt}:end": outcome})
        self.note("finished" if ran and outcome in {"ok", "failed"} else outcome, job.id)

    def _keep_body(self, dead: Job) -> None:
        """The newest dead jobs keep their bodies, as far as these fit."""
        self.dead_bodies.insert(0, dead)
        room, kept = DEAD_BODIES_BYTES, []
        for job in self.dead_bodies[:DEAD_BODIES_KEPT]:
            room -= job.body_bytes
            if room < 0:
                break
            kept.append(job)
        self.dead_bodies = kept

    def has_body(self, name: str) -> bool:
        job = self.jobs[name]
        return job.state != "finished" or job in self.dead_bodies

    def _stop_waiting(self, job: Job) -> None:
        if self.order[job.job_class].find(job.id):
            self.order[job.job_class].remove(job.id, given=False)
        for queue in (self.fresh, self.again):
            if job.id in queue[job.job_class]:
                queue[job.job_class].remove(job.id)

    def deliver(self, name: str, batch: dict[str, str]) -> bool:
        """Append a batch to a gateway's answers; False when nobody reads them any more."""
        if not batch:
            return True
        gateway = self.gateways.get(name)
        if gateway is None or gateway.answers is None:
            return False
        gateway.answers.append(dict(batch))
        return True

    def note(self, event: str, subject: str) -> None:
        self.notes.append((event, subject))

    # Slots

    def in_flight(self, unit: str) -> Counter[str]:
        return Counter(self.jobs[job].job_class for job in self.units[unit].leases)

    def load(self, unit: str) -> Fraction:
        held = self.in_flight(unit)
        return sum((Fraction(held[c], self.policy.limits[c]) for c in CLASSES), Fraction(0))

    def room(self, unit: str, job_class: JobClass, more: Fraction = Fraction(0)) -> int:
        """How many more jobs of a class fit, with so much more load on the unit."""
        free = 1 - self.load(unit) - more
        return max(0, int(free * self.policy.limits[job_class]))

    def may_take_other(self, unit: str) -> bool:
        """Whether a claim might take what waits of the other class: by RASP, or as it starved."""
        role = self.units[unit].role
        other, held = other_class(role), self.in_flight(unit)
        ages = [self.now_ms - self.jobs[job].submitted_ms for job in self.waiting(other)]
        if not ages or not self.room(unit, other):
            return False
        borrows = role == "long" and not held["long"] and not self.waiting("long")
        starved = 0 < self.policy.bound_ms < max(ages) and not held[other]
        return not self.units[unit].leases or borrows or starved
