"""The shapes that pass between the store and the processes."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from common.keys import CLASSES, JobClass
from common.steals import Stealing

Outcome = Literal["ok", "failed", "cancelled", "expired", "dead"]
"""How a job ended.

ok: answered, whatever the unit said; failed: the unit was lost; cancelled: nobody listens any more;
expired: its deadline passed; dead: it ran out of attempts.
"""

Why = Literal["own", "requeued", "stolen", "borrowed", "starved"]
"""What made a claim take a job."""

PartKind = Literal["head", "chunk", "end"]
"""A part of an answer: status and headers (JSON), body bytes, and how it ended (JSON)."""


@dataclass(frozen=True)
class Limits:
    """What an owner may use: jobs at a time, requests and prompt tokens a minute."""

    jobs: int | None = None
    requests: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Budget:
    """What is left of an owner's limits, and when all of it is back; 0 where there is no limit."""

    requests_left: int
    requests_reset_s: float
    tokens_left: int
    tokens_reset_s: float


@dataclass(frozen=True)
class NewJob:
    """A job as a gateway submits it; `body` goes to the unit as it is.

    `weight` is its owner's, from 1 on; `priority` as in vLLM: what is lower goes first.
    `traceparent`: the span of its request in W3C's form; empty when nobody traces. `name`: what its
    client calls it; empty when it has no name.
    """

    id: str
    job_class: JobClass
    tokens: int
    gateway: str
    route: str
    stream: bool
    body: bytes
    owner: str = ""
    timeout_s: float = 600.0
    traceparent: str = ""
    weight: int = 1
    priority: int = 0
    limits: Limits = field(default_factory=Limits)
    name: str = ""


@dataclass(frozen=True)
class Submitted:
    """What became of a submit: accepted, seen before (`state`), or refused.

    `full`: which bound was reached at this `depth`, that of the class's depth or that of the pool's
    bytes. `limited`: which limit of the owner; `wait_s` is when it fits again, None when never.
    """

    status: Literal["accepted", "exists", "full", "limited"]
    state: str = ""
    depth: int = 0
    full: Literal["", "depth", "bytes"] = ""
    limited: Literal["", "jobs", "requests", "tokens"] = ""
    wait_s: float | None = None
    budget: Budget | None = None


@dataclass
class ClaimedJob:
    """A job in the hands of a unit, for one attempt; times are Redis's clock.

    `body`: empty once the unit has been called; Redis keeps it for the next attempt. `queued_ms`:
    when it was submitted or last requeued. `traceparent`: as in `NewJob`.
    """

    id: str
    job_class: JobClass
    attempt: int
    why: Why
    submitted_ms: int
    claimed_ms: int
    deadline_ms: int
    gateway: str
    route: str
    stream: bool
    body: bytes = field(repr=False)
    queued_ms: int = 0
    traceparent: str = ""
    tokens: int = 0

    @property
    def queue_ms(self) -> int:
        return self.claimed_ms - self.submitted_ms


@dataclass(frozen=True)
class Bounds:
    """What a claim may bring at most of each class; None: only slots bound it.

    Short jobs are taken until their prompts have `short_tokens` tokens or more. While a job has
    starved, one in `oldest_every` claims takes the oldest first; None: none does. `limit_short` and
    `limit_long` are online limits, which lower those of the settings. A steal takes no job of more
    than `steal_tokens`, by a unit that was idle for `steal_idle_s`; None: as settings say.
    """

    short_tokens: int | None = None
    long_jobs: int | None = None
    oldest_every: int | None = None
    limit_short: int | None = None
    limit_long: int | None = None
    steal_tokens: int | None = None
    steal_idle_s: float | None = None

    def takes(self, job_class: JobClass) -> bool:
        """Whether a claim may bring any job of a class."""
        bound = self.short_tokens if job_class == "short" else self.long_jobs
        return bound is None or bound > 0

    def opens(self, before: "Bounds") -> bool:
        """Whether a class is taken that was not before."""
        return any(self.takes(name) and not before.takes(name) for name in CLASSES)

    @property
    def takes_any(self) -> bool:
        """Whether a claim may bring anything at all."""
        return any(map(self.takes, CLASSES))


UNBOUNDED = Bounds()


@dataclass(frozen=True)
class Claim:
    """A claim's answer.

    `wait_s`: ask again after so long; None when only a wake-up can bring work, or, when the unit is
    `full`, the end of one of its jobs.
    """

    role: JobClass
    jobs: tuple[ClaimedJob, ...] = ()
    wait_s: float | None = None
    draining: bool = False
    full: bool = False


class Part(NamedTuple):
    """One part of an answer on its way to a gateway; a tuple, as there is one for every token.

    `offset`: the bytes of the answer that come before it; None when nobody counted them.
    """

    job: str
    attempt: int
    kind: PartKind
    content: bytes
    offset: int | None = None

    def __repr__(self) -> str:
        # Not what was said.
        return f"Part({self.job}, {self.attempt}, {self.kind}, {len(self.content)} bytes)"


@dataclass(frozen=True)
class Relay:
    """Parts for one gateway; at most one of each kind for a job.

    `number` grows with every relay of one `run` of a dispatcher: a relay sent twice counts once.
    0 is not numbered.
    """

    gateway: str
    parts: tuple[Part, ...]
    run: str = ""
    number: int = 0


@dataclass(frozen=True)
class Relayed:
    """Which jobs' attempts may write no more, and whether the gateway is gone."""

    gone: bool
    superseded: tuple[str, ...]


@dataclass(frozen=True)
class Finish:
    """The one outcome of an attempt, with the last parts of its answer."""

    job: str
    attempt: int
    job_class: JobClass
    gateway: str
    outcome: Outcome
    status: int = 0
    reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Turn:
    """What one round trip of a dispatcher brought back.

    `waiting`: a finish saw that there is something to claim.
    """

    relayed: tuple[Relayed, ...]
    finished: tuple[str, ...]
    claim: Claim | None
    waiting: bool = False


@dataclass(frozen=True)
class Lease:
    """A lease as another dispatcher sees it."""

    job: str
    attempt: int
    job_class: JobClass


@dataclass(frozen=True)
class Wake:
    """A message to a unit's dispatcher: claim now, abort a job's attempt, or hand it back."""

    kind: Literal["claim", "cancel", "revoke"]
    job: str = ""
    attempt: int = 0


@dataclass(frozen=True)
class UnitView:
    """A unit as the pool sees it. `idle_s` is None while it has a job or was never registered.

    The limits are those that its dispatcher was started with; 0 is not set. Of the online limits 0
    is none.
    """

    name: str
    role: JobClass
    alive: bool
    draining: bool
    short: int
    long: int
    idle_s: float | None = None
    heartbeat_s: float | None = None
    url: str = ""
    models: tuple[str, ...] = ()
    limit: int = 0
    limit_short: int = 0
    limit_long: int = 0
    online_short: int = 0
    online_long: int = 0
    health: str = ""
    pace: float = 1.0
    reported: dict[str, str] = field(default_factory=dict)

    @property
    def in_flight(self) -> int:
        return self.short + self.long


@dataclass(frozen=True)
class QueueView:
    """A class's queue. `taken` counts entries that ever left it; its growth is the drain.

    `virtual`: its virtual time; None while nobody waits.
    """

    depth: int
    oldest_s: float | None
    taken: int
    virtual: float | None = None


@dataclass(frozen=True)
class Standing:
    """Where a waiting job stands in its class at one moment, by Redis's clock.

    `position`: jobs before it as things stand, of which `lane` are its owner's. `distance`: how far
    virtual time has to go until its turn, `step` of which each job of its owner takes; None when
    it was given back, or was submitted by an older version. `until_s`: who comes later counts as
    before it if that is more than what the newcomer counts as late. `older`: jobs of the class that
    have waited longer, whatever the order. `share`: its owner's of all that wait.
    """

    now_ms: int
    submitted_ms: int
    position: int
    lane: int = 0
    distance: float | None = None
    step: float = 0.0
    until_s: float = 0.0
    older: int = 0
    share: float = 1.0

    @property
    def age_s(self) -> float:
        return (self.now_ms - self.submitted_ms) / 1000


@dataclass(frozen=True)
class Prefilling:
    """A job in flight of which no byte was seen yet; `revoked`: how often it was handed back."""

    unit: str
    job_class: JobClass
    tokens: int
    claimed_ms: int
    streams: bool
    job: str
    attempt: int
    revoked: int = 0


@dataclass(frozen=True)
class PoolView:
    """All that a policy or a page needs to know of a pool at one moment (Redis's clock).

    `body_bytes`: of the bodies of all unfinished jobs. `dead`: dead-lettered jobs that are kept.
    """

    now_ms: int
    units: tuple[UnitView, ...]
    queues: dict[JobClass, QueueView]
    overrides: dict[str, str]
    body_bytes: int = 0
    dead: int = 0
    stealing: Stealing = field(default_factory=Stealing)


@dataclass(frozen=True)
class JobView:
    """All that is known of a job but its body and its owner; None is what has not happened."""

    id: str
    job_class: JobClass
    state: str
    outcome: str
    reason: str
    unit: str
    why: str
    attempt: int
    tokens: int
    stream: bool
    status: int
    submitted_ms: int
    claimed_ms: int | None
    first_byte_ms: int | None
    finished_ms: int | None
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class HeldView:
    """What a unit holds: how many jobs, and the ids of as many of them as were asked for."""

    count: int
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class DeadView:
    """A dead-lettered job as `P:dead` has it; `entry` is its id there."""

    entry: str
    job: str
    job_class: JobClass
    unit: str
    attempt: int
    reason: str
    at_ms: int
