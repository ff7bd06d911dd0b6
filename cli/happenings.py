"""What happened lately in a pool: a count of outcomes, and the last flips and steals."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.views import Views

_NOTES_KEPT = 6
_READ = 1000
_LOOK_BACK_MS = 60_000

WHY = {
    "stolen": "stolen: the unit was idle",
    "borrowed": "borrowed: the Long unit had no long job",
    "starved": "taken: it had waited too long",
}


@dataclass
class Happenings:
    """Follows the events of a pool, from a minute before the first look."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=_NOTES_KEPT))
    _after: str = ""

    async def follow(self, views: Views) -> None:
        """Read what is new."""
        since = f"({self._after}" if self._after else str(await views.now_ms() - _LOOK_BACK_MS)
        events = await views.events(since=since, count=_READ)
        for event in events:
            self.add(event)
            self._after = event["id"]
        if len(events) == _READ:
            await self.follow(views)

    def add(self, event: Mapping[str, str]) -> None:
        self.counts[_kind(event)] += 1
        note = _note(event)
        if note:
            self.notes.append(note)


def _kind(event: Mapping[str, str]) -> str:
    if event["event"] == "finished":
        return event.get("outcome", "finished")
    return event["event"]


def _note(event: Mapping[str, str]) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(int(event.get("at_ms", 0)) / 1000))
    if event["event"] == "flipped":
        return f"{clock} {event['unit']} is {event['to'].title()} now: {event.get('reason', '')}"
    if event["event"] == "stolen":
        why = WHY.get(event.get("why", ""), "stolen")
        return f"{clock} {event['unit']} took {event['class']} {event['job']}, {why}"
    if event["event"] == "lowered":
        return (
            f"{clock} {event['unit']} holds {event['to']} {event['class']} jobs at most,"
            f" not {event['from']}: they are slow"
        )
    if event["event"] in {"requeued", "reclaimed", "revoked", "dead"}:
        return f"{clock} {event['unit']} {event['event']} {event['job']}: {event.get('reason', '')}"
    return ""
