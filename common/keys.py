"""Every key of a pool, with its type; nothing else builds a key's name.

All keys of a pool share one hash tag, so that a script may touch any of them on a Redis Cluster,
and pools spread over its slots. Each key is permanent by decision or has a TTL; docs/redis.md lists
them.
"""

from dataclasses import dataclass, field
from typing import Literal

JobClass = Literal["short", "long"]
"""What a job is. A unit's role takes the same two words."""

CLASSES: tuple[JobClass, JobClass] = ("short", "long")

GROUP = "units"
"""The one consumer group of both queues; a consumer is a unit's name, or `requeued`."""


COST = 100_000
"""What a job costs its owner in virtual time, at weight 1; the scripts have the same number."""


def place_of(entry: str, priority: str = "0") -> str:
    """An entry's place in its lane, as the scripts write it."""
    ms, _, sequence = entry.partition("-")
    return f"{ms}-{sequence:0>10}" + (f":{priority}" if priority != "0" else "")


def entry_of(place: str) -> str:
    """The id of the entry that has a place."""
    ms, _, sequence = place.partition(":")[0].partition("-")
    return f"{ms}-{int(sequence)}"


def other_class(job_class: JobClass) -> JobClass:
    return "long" if job_class == "short" else "short"


@dataclass(frozen=True)
class Keys:
    """The keys of one pool."""

    pool: str = "default"
    prefix: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", f"adasplit:{{{self.pool}}}")

    def queue(self, job_class: JobClass) -> str:
        """STREAM, permanent: entries of waiting and running jobs of a class."""
        return f"{self.prefix}:queue:{job_class}"

    def requeued(self, job_class: JobClass) -> str:
        """ZSET, gone when empty: job -> submitted (ms); pending entries that wait again."""
        return f"{self.prefix}:requeued:{job_class}"

    def waiting(self, job_class: JobClass) -> str:
        """ZSET, gone when empty: place -> submitted (ms); jobs that were never claimed.

        A place is an entry's id, padded so that places sort as entries do, and the job's priority
        when it has one.
        """
        return f"{self.prefix}:waiting:{job_class}"

    def lane(self, lane: str) -> str:
        """ZSET, gone when empty: places by submit time and priority; a lane is `class:owner`."""
        return f"{self.prefix}:lane:{lane}"

    def due(self, job_class: JobClass) -> str:
        """ZSET, gone when empty: owner with waiting jobs -> virtual time of its turn."""
        return f"{self.prefix}:due:{job_class}"

    def spent(self, job_class: JobClass) -> str:
        """ZSET, gone when nobody waits: idle owner -> virtual time up to which it had its share."""
        return f"{self.prefix}:spent:{job_class}"

    def virtual(self, job_class: JobClass) -> str:
        """STRING, gone when nobody waits: the virtual time."""
        return f"{self.prefix}:virtual:{job_class}"

    def rate(self, owner: str) -> str:
        """HASH, TTL: second -> requests and prompt tokens that an owner with limits had in it."""
        return f"{self.prefix}:rate:{owner}"

    def open(self, owner: str) -> str:
        """ZSET, TTL: job of an owner that may have so many -> its deadline (ms)."""
        return f"{self.prefix}:open:{owner}"

    def job(self, job: str) -> str:
        """HASH, TTL: all that is known of a job."""
        return f"{self.prefix}:job:{job}"

    def named(self, name: str) -> str:
        """STRING, TTL: the job that a client gave a name; a name is `owner:name`."""
        return f"{self.prefix}:named:{name}"

    def role(self, unit: str) -> str:
        """STRING, permanent: the role key that the scaler flips."""
        return f"{self.prefix}:role:{unit}"

    def active(self, unit: str) -> str:
        """HASH, permanent while the unit is known: jobs in flight, fields short and long."""
        return f"{self.prefix}:active:{unit}"

    def leases(self, unit: str) -> str:
        """ZSET, gone when empty: job -> lease expiry (ms)."""
        return f"{self.prefix}:leases:{unit}"

    def idle_since(self, unit: str) -> str:
        """STRING, permanent while the unit is known: when its last job ended (ms)."""
        return f"{self.prefix}:idle_since:{unit}"

    @property
    def units(self) -> str:
        """ZSET, permanent: unit -> last heartbeat (ms)."""
        return f"{self.prefix}:units"

    def unit(self, unit: str) -> str:
        """HASH, permanent while the unit is known: url, limits, models, health."""
        return f"{self.prefix}:unit:{unit}"

    def group(self, role: JobClass) -> str:
        """ZSET, gone when empty: unit of this role that takes jobs -> last heartbeat (ms)."""
        return f"{self.prefix}:group:{role}"

    @property
    def models(self) -> str:
        """ZSET, permanent: model -> last heartbeat of a unit that serves it (ms)."""
        return f"{self.prefix}:models"

    def hungry(self, role: JobClass) -> str:
        """ZSET, gone when empty: units with free slots that found nothing, by load."""
        return f"{self.prefix}:hungry:{role}"

    def woken(self, role: JobClass) -> str:
        """ZSET, TTL: units that were woken and have not claimed yet, by load."""
        return f"{self.prefix}:woken:{role}"

    def wake(self, unit: str) -> str:
        """LIST, TTL: messages to a unit's dispatcher: claim, cancel:… or revoke:<job>:<attempt>."""
        return f"{self.prefix}:wake:{unit}"

    @property
    def steals(self) -> str:
        """ZSET, TTL: job:attempt that a Short unit stole and prefills -> last look at it (ms)."""
        return f"{self.prefix}:steals"

    @property
    def stealing(self) -> str:
        """HASH, permanent: what steals have cost, and what they may be (adaptive policy)."""
        return f"{self.prefix}:stealing"

    @property
    def gateways(self) -> str:
        """ZSET, permanent: gateway -> last heartbeat (ms)."""
        return f"{self.prefix}:gateways"

    def reply(self, gateway: str) -> str:
        """STREAM, TTL: batches of answer parts; its gateway keeps it."""
        return f"{self.prefix}:reply:{gateway}"

    @property
    def pulse(self) -> str:
        """HASH, permanent: the newest heartbeat of all; what it was before Redis was away."""
        return f"{self.prefix}:pulse"

    @property
    def bytes(self) -> str:
        """STRING, permanent: bytes of the bodies of all unfinished jobs."""
        return f"{self.prefix}:bytes"

    @property
    def dead(self) -> str:
        """STREAM, MAXLEN: dead-lettered jobs, with the reason."""
        return f"{self.prefix}:dead"

    @property
    def events(self) -> str:
        """STREAM, MAXLEN: what happened to jobs and units."""
        return f"{self.prefix}:events"

    @property
    def policy(self) -> str:
        """HASH, permanent: live overrides of policy settings."""
        return f"{self.prefix}:policy"

    @property
    def leader(self) -> str:
        """STRING, PX: the scaler that leads."""
        return f"{self.prefix}:scaler:leader"

    @property
    def cooldown(self) -> str:
        """STRING, PX: no flip while it exists; holds when it ends (ms)."""
        return f"{self.prefix}:scaler:cooldown"
