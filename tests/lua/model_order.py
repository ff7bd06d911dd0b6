"""Whose turn it is in a class, in lists: start-time fair queuing, with priority as a head start."""

from dataclasses import dataclass, field

COST = 100_000
STEP = 10 * COST
PRIORITY_STEP_MS = 30_000


@dataclass(frozen=True)
class Place:
    """A job that waits for its first claim."""

    job: str
    owner: str
    submitted_ms: int
    priority: int
    cost: int

    @property
    def rank_ms(self) -> int:
        return self.submitted_ms + self.priority * PRIORITY_STEP_MS


@dataclass
class Order:
    """The new jobs of one class.

    `due`: the virtual time at which each owner that waits may have its next; `spent`: up to when
    an owner that does not wait had its share, while that is ahead of `time`.
    """

    places: list[Place] = field(default_factory=list)
    due: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    time: int = 0

    def copy(self) -> "Order":
        return Order(list(self.places), dict(self.due), dict(self.spent), self.time)

    def lane(self, owner: str) -> list[Place]:
        """An owner's jobs in the order in which they go; of one rank the earlier submit first."""
        return sorted(
            (place for place in self.places if place.owner == owner), key=lambda p: p.rank_ms
        )

    def add(self, place: Place) -> None:
        before = self.lane(place.owner)
        self.places.append(place)
        if not before:
            self.time += 1
            start = max(self.spent.pop(place.owner, 0), self.time)
            self.due[place.owner] = start + place.priority * STEP
        elif self.lane(place.owner)[0] is place:
            used = self.due[place.owner] - before[0].priority * STEP
            self._stand(place.owner, used)

    def front(self) -> Place | None:
        """The owner with the earliest turn, and of its jobs the first."""
        if not self.due:
            return None
        return self.lane(min(self.due, key=lambda owner: (self.due[owner], owner)))[0]

    def find(self, job: str) -> Place | None:
        return next((place for place in self.places if place.job == job), None)

    def remove(self, job: str, *, given: bool, in_turn: bool = True) -> None:
        """A job was handed out (`given`), or ended; `in_turn`: it was at the front."""
        place = self.find(job)
        assert place is not None
        was_first = self.lane(place.owner)[0]
        self.places.remove(place)
        if was_first is not place and not given:
            return
        turn = self.due[place.owner]
        if given and in_turn:
            self.time = max(self.time, turn)
            self.spent = {name: used for name, used in self.spent.items() if used > self.time}
        self._stand(place.owner, turn - was_first.priority * STEP + (place.cost if given else 0))

    def _stand(self, owner: str, used: int) -> None:
        lane = self.lane(owner)
        if lane:
            priority = lane[0].priority
            earliest = self.time + min(priority, 0) * STEP
            self.due[owner] = max(used + priority * STEP, earliest)
            return
        del self.due[owner]
        if not self.due:
            self.spent, self.time = {}, 0
        elif used > self.time:
            self.spent[owner] = used
