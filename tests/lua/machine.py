"""The state machine that draws calls: hypothesis chooses, a play makes them and compares."""

import sys
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.keys import CLASSES, JobClass
from common.models import Outcome
from tests.lua.model import Attempt
from tests.lua.play import GATEWAYS, OVERRIDES, OWNERS, SCALERS, UNITS, Play

classes = st.sampled_from(CLASSES)
units = st.sampled_from(UNITS)
gateways = st.sampled_from(GATEWAYS)
scalers = st.sampled_from(SCALERS)
outcomes = st.sampled_from(("ok", "failed", "cancelled"))
ends = st.sampled_from(("cancelled", "expired"))
picks = st.integers(0, 9)
rarely = st.sampled_from((False, False, False, True))
someone = st.sampled_from((None, None, None, *UNITS))
"""Who speaks for an attempt: mostly the unit that claimed it."""

has_claimed = precondition(lambda self: self.play.model.attempts)
has_jobs = precondition(lambda self: self.play.model.jobs)


class Machine(RuleBasedStateMachine):
    """Any calls in any order, from several units, gateways and scalers."""

    def __init__(self, new_play: Callable[[], Play]) -> None:
        super().__init__()
        self.play = new_play()

    @initialize()
    def open(self) -> None:
        self.play.open()

    @invariant()
    def is_as_the_model_says(self) -> None:
        self.play.check()

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            self.play.end()

    def _attempt(self, pick: int) -> Attempt:
        """An attempt, the newest first; of any age, as units never forget."""
        return self.play.model.attempts[-1 - pick % len(self.play.model.attempts)]

    def _job(self, pick: int) -> str:
        names = list(self.play.model.jobs)
        return names[-1 - pick % len(names)]

    # Gateways

    @rule(
        job_class=classes,
        gateway=gateways,
        body_bytes=st.sampled_from((2, 0, 30)),
        timeout_s=st.sampled_from((300.0, 6.0, 30.0)),
        count=st.sampled_from((1, 2, 4)),
        owner=st.sampled_from(tuple(OWNERS)),
        priority=st.sampled_from((0, 0, 0, 1, -2)),
    )
    def submit(  # all that a submit may be
        self,
        job_class: JobClass,
        gateway: str,
        body_bytes: int,
        timeout_s: float,
        count: int,
        owner: str,
        priority: int,
    ) -> None:
        for _ in range(count):
            self.play.submit(job_class, gateway, body_bytes, timeout_s, owner, priority)

    @has_jobs
    @rule(pick=picks, outcome=ends)
    def cancel(self, pick: int, outcome: Outcome) -> None:
        self.play.cancel(self._job(pick), outcome)

    @rule()
    def cancel_a_job_that_nobody_knows(self) -> None:
        self.play.cancel("unknown", "cancelled")

    @rule(gateway=gateways)
    def beat(self, gateway: str) -> None:
        self.play.beat(gateway)

    @rule(gateway=gateways, dead_only=st.booleans())
    def forget(self, gateway: str, dead_only: bool) -> None:  # noqa: FBT001  # drawn, not written
        self.play.forget(gateway, dead_only=dead_only)

    @rule()
    def sweep(self) -> None:
        self.play.sweep()

    # Units

    def _can_claim(self, unit: str) -> bool:
        known = self.play.model.units[unit]
        return known.beat_ms is not None and not known.left

    @rule(unit=units, most=st.sampled_from((None, None, None, 1, 2, 0)))
    def claim(self, unit: str, most: int | None) -> None:
        if self._can_claim(unit):
            self.play.claim(unit, most)

    @rule()
    def everybody_claims(self) -> None:
        for unit in filter(self._can_claim, UNITS):
            self.play.claim(unit)

    @has_claimed
    @rule(pick=picks, outcome=outcomes, by=someone, said=st.booleans(), rest=st.booleans())
    def finish(self, pick: int, outcome: Outcome, by: str | None, said: bool, rest: bool) -> None:  # noqa: FBT001  # drawn, not written
        claimed = self._attempt(pick)
        self.play.finish(by or claimed.unit, claimed, outcome, said=said, rest=rest)

    @has_claimed
    @rule(
        chosen=st.lists(picks, min_size=1, max_size=3),
        by=someone,
        run=st.sampled_from(("run-1", "run-2")),
        number=st.integers(0, 4),
        heads=rarely,
    )
    def relay(self, chosen: list[int], by: str | None, run: str, number: int, heads: bool) -> None:  # noqa: FBT001  # drawn, not written
        attempts = [self._attempt(pick) for pick in chosen]
        self.play.relay(by or attempts[0].unit, run, number, attempts, heads=heads)

    @has_claimed
    @rule(pick=picks, by=someone, behind=st.integers(0, 2), room=st.integers(1, 3), over=rarely)
    def weigh(self, pick: int, by: str | None, behind: int, room: int, over: bool) -> None:  # noqa: FBT001  # drawn, not written
        claimed = self._attempt(pick)
        self.play.weigh(by or claimed.unit, claimed, behind, room, over=over)

    @has_claimed
    @rule(pick=picks, spared=rarely, revoked=rarely, lapsed_only=rarely, by=someone)
    def requeue(  # all that a requeue may be
        self,
        pick: int,
        spared: bool,  # noqa: FBT001  # drawn, not written
        revoked: bool,  # noqa: FBT001  # drawn, not written
        lapsed_only: bool,  # noqa: FBT001  # drawn, not written
        by: str | None,
    ) -> None:
        claimed = self._attempt(pick)
        how = {"spared": spared, "revoked": revoked, "lapsed_only": lapsed_only}
        self.play.requeue(by or claimed.unit, claimed, **how)

    @rule()
    def reclaim(self) -> None:
        self.play.reclaim()

    @has_claimed
    @rule(unit=units, count=st.integers(1, 8), by=someone)
    def renew(self, unit: str, count: int, by: str | None) -> None:
        known = [each for each in self.play.model.attempts if each.unit == unit]
        self.play.renew(by or unit, [(each.job, each.attempt) for each in known[-count:]])

    @rule(unit=units)
    def register(self, unit: str) -> None:
        self.play.register(unit)

    @rule(unit=units)
    def leave(self, unit: str) -> None:
        self.play.leave(unit)

    @rule(unit=units, draining=rarely)
    def drain(self, unit: str, draining: bool) -> None:  # noqa: FBT001  # drawn, not written
        self.play.drain(unit, draining=draining)

    # Scalers

    @rule(scaler=scalers)
    def lead(self, scaler: str) -> None:
        self.play.lead(scaler)

    @rule()
    def leader_lapses(self) -> None:
        self.play.leader_lapses()

    @rule(scaler=scalers, unit=units, to=classes, cooled=st.booleans())
    def flip(self, scaler: str, unit: str, to: JobClass, cooled: bool) -> None:  # noqa: FBT001  # drawn, not written
        self.play.flip(scaler, unit, to, cooled=cooled)

    @has_claimed
    @rule(scaler=scalers, pick=picks, most=st.integers(0, 2))
    def revoke(self, scaler: str, pick: int, most: int) -> None:
        self.play.revoke(scaler, self._attempt(pick), most)

    @rule(
        drawn=st.sampled_from([(n, v) for n, values in OVERRIDES.items() for v in (*values, None)])
    )
    def override(self, drawn: tuple[str, str | None]) -> None:
        self.play.override(*drawn)

    # Time, and the network

    @rule(
        seconds=st.sampled_from((0.5, 2.0, 5.0, 11.0, 16.0, 61.0)),
        silent=st.lists(st.sampled_from(UNITS + GATEWAYS), max_size=3, unique=True),
    )
    def pass_time(self, seconds: float, silent: list[str]) -> None:
        self.play.pass_time(seconds, silent)

    @rule(seconds=st.sampled_from((1.0, 6.0, 30.0)))
    def redis_is_away(self, seconds: float) -> None:
        self.play.advance(seconds)

    @rule()
    def lose_a_reply(self) -> None:
        self.play.repeat()
