"""What a claim may hand out: the order of a queue, slots, RASP, borrowing and the starvation bound.

How many jobs a unit leaves for others that wait is the script's choice, within bounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from common.keys import JobClass, other_class
from tests.lua.model_order import Order
from tests.lua.model_state import State

_TRIED = 4
"""How many doomed jobs a claim clears on its way to one that has starved."""


@dataclass(frozen=True)
class Given:
    """A job that a claim has handed out, and what the script says made it do so."""

    job: str
    job_class: JobClass
    attempt: int
    why: str


def check_claim(
    state: State,
    unit: str,
    given: Sequence[Given],
    ended: Mapping[str, str],
    wait_ms: int,
    most: int | None,
) -> dict[JobClass, Order]:
    """Assert that this claim, of a state as it was before it, is one of those that may be.

    Answers the order in which the rest then waits.
    """
    bounds = Bounds(state, unit, most)
    bounds.check(given, ended, wait_ms)
    return bounds.order


class Bounds:
    """The bounds of one claim."""

    def __init__(self, state: State, unit: str, most: int | None) -> None:
        self.state = state
        self.unit = unit
        self.most = most
        self.role = state.units[unit].role
        self.other = other_class(self.role)
        self.held = state.in_flight(unit)
        self.order = {name: order.copy() for name, order in state.order.items()}
        self.depth = {name: len(state.waiting(name)) for name in (self.role, self.other)}

    def check(self, given: Sequence[Given], ended: Mapping[str, str], wait_ms: int) -> None:
        assert self.most is None or len(given) <= self.most
        for job, outcome in ended.items():
            assert outcome == self.state.doom(job), job
        for each in given:
            assert not self.state.doom(each.job), each
        for job_class in (self.role, self.other):
            self._check_order(job_class, given, ended)
        starved = [each for each in given if each.why == "starved"]
        rest = [each for each in given if each.why != "starved"]
        assert list(given) == starved + rest, "the starved one goes first"
        self._check_starved(starved, wait_ms)
        self._check_rest(rest, len(starved), wait_ms)
        self._check_load(given)

    def _check_order(
        self, job_class: JobClass, given: Sequence[Given], ended: Mapping[str, str]
    ) -> None:
        """Whatever left a queue was at its front, one after the other."""
        taken = [each for each in given if each.job_class == job_class]
        left = [job for job in ended if self.state.jobs[job].job_class == job_class]
        again = list(self.state.again[job_class])
        if job_class == self.other:
            taken = self._check_oldest(taken, left, again)
        while taken or left:
            fronts = self._oldest(again) or [self._front(job_class)]
            job = next((name for name in fronts if name in left), None)
            if job is None:
                assert taken, left
                assert taken[0].job in fronts, (taken[0], fronts)
                job = taken.pop(0).job
            self._go(job_class, job, left, again)

    def _check_oldest(self, taken: list[Given], left: list[str], again: list[str]) -> list[Given]:
        """A job that has starved goes by its age alone; answers the others."""
        state, bound_ms = self.state, self.state.policy.bound_ms
        if not bound_ms or self.held[self.other] or not self._room(self.other):
            return taken
        for _ in range(_TRIED):
            waiting = again + [place.job for place in self.order[self.other].places]
            oldest = self._oldest(waiting)
            if not oldest or state.now_ms - state.jobs[oldest[0]].submitted_ms <= bound_ms:
                return taken
            # Of one age a requeued one comes first, then the earlier submit.
            job = next((name for name in oldest if name in again), oldest[0])
            if job not in left:
                assert taken, oldest
                assert taken[0].why == "starved"
                assert taken[0].job in ([n for n in oldest if n in again] or [job])
                self._go(self.other, taken[0].job, left, again, in_turn=False)
                return taken[1:]
            self._go(self.other, job, left, again, in_turn=False)
        return taken

    def _go(
        self,
        job_class: JobClass,
        job: str,
        left: list[str],
        again: list[str],
        *,
        in_turn: bool = True,
    ) -> None:
        given = job not in left
        if not given:
            left.remove(job)
        if job in again:
            again.remove(job)
        else:
            self.order[job_class].remove(job, given=given, in_turn=in_turn)

    def _oldest(self, jobs: Sequence[str]) -> list[str]:
        """All of the one greatest age."""
        times = [self.state.jobs[job].submitted_ms for job in jobs]
        return [
            job for job, at_ms in zip(jobs, times, strict=True) if at_ms == min(times, default=0)
        ]

    def _front(self, job_class: JobClass) -> str:
        place = self.order[job_class].front()
        return place.job if place else ""

    def _check_load(self, given: Sequence[Given]) -> None:
        more = sum(
            (Fraction(1, self.state.policy.limits[each.job_class]) for each in given), Fraction(0)
        )
        assert not given or self.state.load(self.unit) + more <= 1

    # A job of the other class that has waited too long

    def _check_starved(self, starved: Sequence[Given], wait_ms: int) -> None:
        assert len(starved) <= 1
        assert all(each.job_class == self.other for each in starved)
        since_ms = self._oldest_ms(self.other)
        bound_ms = self.state.policy.bound_ms
        may = bound_ms > 0 and since_ms is not None and not self.held[self.other]
        if not may or not self._room(self.other) or since_ms is None:
            assert not starved
        elif self.state.now_ms - since_ms <= bound_ms:
            assert not starved
            self._asks_again(wait_ms, since_ms + bound_ms - self.state.now_ms + 1)
        else:
            assert starved or self._has_doomed(self.other)

    def _oldest_ms(self, job_class: JobClass) -> int | None:
        times = [self.state.jobs[job].submitted_ms for job in self.state.waiting(job_class)]
        return min(times) if times else None

    # Its own class; without any, what RASP allows of the other

    def _check_rest(self, rest: Sequence[Given], starved: int, wait_ms: int) -> None:
        more = Fraction(starved, self.state.policy.limits[self.other])
        if self.depth[self.role]:
            self._check_own(rest, self._room(self.role, more, starved), wait_ms)
        elif self.role == "short":
            self._check_stolen(rest, starved, wait_ms)
        else:
            self._check_borrowed(rest, starved, self._room("short", more, starved))

    def _check_own(self, own: Sequence[Given], room: int, wait_ms: int) -> None:
        again = set(self.state.again[self.role])
        for each in own:
            assert each.job_class == self.role
            assert each.why == ("requeued" if each.job in again else "own")
        self._check_share(self.role, len(own), room)
        if len(own) < min(room, self.depth[self.role]) and not self._has_doomed(self.role):
            self._asks_again(wait_ms, 1000)

    def _check_stolen(self, stolen: Sequence[Given], starved: int, wait_ms: int) -> None:
        policy = self.state.policy
        assert len(stolen) <= 1
        assert all((each.job_class, each.why) == ("long", "stolen") for each in stolen)
        in_flight = sum(self.held.values()) + starved
        if not policy.steal or in_flight or self.depth["long"] == 0 or self.most == 0:
            assert not stolen
            return
        idle_ms = self.state.units[self.unit].idle_ms
        rested_ms = 0 if idle_ms is None else self.state.now_ms - idle_ms
        if rested_ms < policy.steal_cooldown_ms:
            assert not stolen
            if not self._has_doomed("long"):
                self._asks_again(wait_ms, policy.steal_cooldown_ms - rested_ms)
        else:
            assert stolen or self._has_doomed("long")

    def _check_borrowed(self, borrowed: Sequence[Given], starved: int, room: int) -> None:
        assert all((each.job_class, each.why) == ("short", "borrowed") for each in borrowed)
        if not self.state.policy.borrow or self.held["long"]:
            assert not borrowed
            return
        self._check_share("short", len(borrowed), room, before=starved)

    def _check_share(self, job_class: JobClass, taken: int, room: int, before: int = 0) -> None:
        """What a unit leaves must fit in the others that wait; of one each it takes no more."""
        state = self.state
        depth = self.depth[job_class] - before
        assert taken <= min(room, depth)
        waiting = [n for n in state.units if n != self.unit and self._may_wait(n, job_class)]
        fits = len(waiting) * state.policy.limits[job_class]
        if not self._has_doomed(job_class):
            assert taken >= min(room, depth - fits), "jobs are left that nobody else takes"
        idle = [name for name in waiting if name in state.idle_hungry]
        busy = self.held[job_class] > 0
        if 0 < depth <= len(idle) + 1 and not before:
            # Each of the idle ones gets one before anybody has two.
            assert taken <= (depth > len(idle) if busy else 1)

    def _may_wait(self, name: str, job_class: JobClass) -> bool:
        return self.state.alive(name) and self.state.units[name].role == job_class

    # Words

    def _room(self, job_class: JobClass, more: Fraction = Fraction(0), taken: int = 0) -> int:
        room = self.state.room(self.unit, job_class, more)
        return room if self.most is None else min(room, self.most - taken)

    def _has_doomed(self, job_class: JobClass) -> bool:
        return any(self.state.doom(job) for job in self.state.waiting(job_class))

    def _asks_again(self, wait_ms: int, within_ms: int) -> None:
        assert 0 <= wait_ms <= within_ms, f"it is to ask again within {within_ms} ms, not {wait_ms}"
