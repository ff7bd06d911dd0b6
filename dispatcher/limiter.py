"""The limiter: measures how fast this unit's streams run, and follows with the unit's limits.

Tokens are not counted one by one: a stream's bytes are, and what a token takes is learnt from
streams that have ended. So a chunk costs nothing here.
"""

import time
from collections.abc import Callable

from common.keys import CLASSES, JobClass
from common.models import Bounds
from common.policy import Policy
from common.ratio import DecayedRatio
from dispatcher.metrics import Metrics
from dispatcher.online import Look, OnlineLimits, Stream
from dispatcher.running import RunningJob, RunningJobs

_USUAL_BYTES = 230.0
"""A token as vLLM streams it in a chat: an event of a few letters and what surrounds them."""

_PRIOR_TOKENS = 100.0
_FADE = 1 / 50
"""What a token takes is learnt from about the last 50 streams."""

_SHORTEST = 8
"""A stream of fewer tokens tells more of one step than of what a unit bears."""


class Limiter:
    """`raised` is called when more may be held than before."""

    def __init__(
        self, running: RunningJobs, metrics: Metrics, settings: Policy, policy: Callable[[], Policy]
    ) -> None:
        self.raised: Callable[[], None] = lambda: None
        self._running = running
        self._metrics = metrics
        self._policy = policy
        self._online = OnlineLimits(settings)
        self._begun: dict[str, float] = {}
        self._counted: dict[str, tuple[int, float]] = {}
        self._token_bytes = DecayedRatio(_FADE, _USUAL_BYTES * _PRIOR_TOKENS, _PRIOR_TOKENS)

    def limit(self, job_class: JobClass) -> int | None:
        """None: the ceiling alone counts."""
        return self._online.limit(job_class, self._policy())

    def within(self, bounds: Bounds) -> Bounds:
        """These bounds of a claim, and the limits of now."""
        return self._online.within(bounds, self._policy())

    def claimed(self) -> None:
        """A claim came back, and what it brought runs."""
        if self._policy().slots == "online":
            self._online.claimed(self._held(), self._policy())

    def first_byte(self, running: RunningJob) -> None:
        """A stream has begun."""
        self._begun[running.job.id] = time.monotonic()

    def answered(self, running: RunningJob, tokens: int, tail: bytes) -> None:
        """An answer has ended well: so many tokens, 0 if nobody said, and its last bytes."""
        begun_s = self._begun.pop(running.job.id, None)
        if begun_s is None:
            return
        if tokens:
            self._token_bytes.add(running.sent_bytes, tokens)
        elif events := tail.count(b"data: "):
            self._token_bytes.add(len(tail), events)
        tokens = tokens or round(running.sent_bytes / self._bytes_per_token)
        if tokens >= _SHORTEST:
            tpot_s = (time.monotonic() - begun_s) / (tokens - 1)
            self._metrics.streamed(running.job.job_class, tpot_s)
            self._online.ended(running.job.job_class, tpot_s)

    async def step(self) -> None:
        """Look at what runs, and decide."""
        running = self._running.all()
        kept = {one.job.id for one in running}
        self._begun = {job: at_s for job, at_s in self._begun.items() if job in kept}
        policy = self._policy()
        if policy.slots == "fixed":
            return
        before = {name: self.limit(name) for name in CLASSES}
        self._online.look(self._seen(running), policy)
        raised = False
        for name in CLASSES:
            old, new = before[name] or 0, self.limit(name) or 0
            if old != new:
                self._metrics.limited(name, "up" if new > old else "down")
            raised |= new > old
        if raised:
            self.raised()

    def tpot_s(self, job_class: JobClass) -> float:
        """Time per output token as last measured; 0 when none was."""
        return self._online.tpot_s(job_class) or 0.0

    def _seen(self, running: list[RunningJob]) -> Look:
        streams = [one for one in running if one.streams]
        self._counted = {_name(one): self._count(one) for one in streams}
        return Look(
            now_s=time.monotonic(),
            streams=tuple(
                Stream(_name(one), one.job.job_class, self._counted[_name(one)][1])
                for one in streams
            ),
            held=self._held(),
            unsent={
                name: sum(
                    one.job.job_class == name and one.job.stream and not one.sent for one in running
                )
                for name in CLASSES
            },
        )

    def _count(self, running: RunningJob) -> tuple[int, float]:
        """The bytes of a stream, and its tokens: those of before stay, whatever is learnt since."""
        sent_bytes, tokens = self._counted.get(_name(running), (0, 0.0))
        came = running.sent_bytes - sent_bytes
        return running.sent_bytes, tokens + came / self._bytes_per_token

    def _held(self) -> dict[JobClass, int]:
        return {name: self._running.count(name) for name in CLASSES}

    @property
    def _bytes_per_token(self) -> float:
        return self._token_bytes.value or _USUAL_BYTES


def _name(running: RunningJob) -> str:
    # The next attempt of a job begins anew.
    return f"{running.job.id}:{running.job.attempt}"
