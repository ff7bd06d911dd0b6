"""What happened lately in a pool, from its events: flips, steals, mishaps, waits, endings."""

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, cast

from common.keys import CLASSES, JobClass
from dashboard.window import Window

_TOLD_KEPT = 200
_SUBMITS_KEPT = 20_000

_TOLD = {"flipped", "stolen", "requeued", "reclaimed", "dead", "expired"}
_ENDINGS = {"finished", "cancelled", "expired", "dead"}


class Happenings:
    """Takes events one by one, in their order; all that it keeps is bounded."""

    def __init__(self, span_s: float, ended_kept: int = 0) -> None:
        self.waits = {name: Window(span_s) for name in CLASSES}
        self.endings = {name: Window(span_s) for name in CLASSES}
        self.flips, self.steals, self.mishaps = Window(span_s), Window(span_s), Window(span_s)
        self.told: deque[dict[str, Any]] = deque(maxlen=_TOLD_KEPT)
        self.ended: dict[JobClass, OrderedDict[str, None]] = {
            name: OrderedDict() for name in CLASSES
        }
        """The jobs that ended last, the newest at the end; dead ones have a list of their own."""
        self._ended_kept = ended_kept
        self._submits: OrderedDict[str, int] = OrderedDict()

    def add(self, event: Mapping[str, str]) -> None:
        kind, at_ms = event["event"], _at_ms(event)
        job, job_class = event.get("job", ""), cast("JobClass", event.get("class", "short"))
        if kind == "submitted":
            self._submits[job] = at_ms
            if len(self._submits) > _SUBMITS_KEPT:
                self._submits.popitem(last=False)
        elif kind in {"claimed", "stolen"}:
            # The first claim ends the wait; what was given back waits for another reason.
            submitted_ms = self._submits.pop(job, None)
            if submitted_ms is not None:
                self.waits[job_class].add(at_ms, max(0, at_ms - submitted_ms) / 1000)
        elif kind in _ENDINGS:
            self._submits.pop(job, None)
            self.endings[job_class].add(at_ms, 1)
            self._note_end(job, job_class, kind)
        if kind in _TOLD:
            self._tell(event, kind, at_ms)

    def forget_before(self, now_ms: int) -> None:
        for window in (*self.waits.values(), *self.endings.values()):
            window.forget_before(now_ms)
        for window in (self.flips, self.steals, self.mishaps):
            window.forget_before(now_ms)

    def _note_end(self, job: str, job_class: JobClass, kind: str) -> None:
        ended = self.ended[job_class]
        if kind != "dead":
            ended[job] = None
        if len(ended) > self._ended_kept:
            ended.popitem(last=False)

    def _tell(self, event: Mapping[str, str], kind: str, at_ms: int) -> None:
        counted = {"flipped": self.flips, "stolen": self.steals}.get(kind, self.mishaps)
        counted.add(at_ms, 1)
        shown = ("unit", "to", "job", "class", "why", "reason")
        told = {name: event[name] for name in shown if event.get(name)}
        self.told.append({"id": event["id"], "at_ms": at_ms, "kind": kind} | told)


def _at_ms(event: Mapping[str, str]) -> int:
    return int(event.get("at_ms") or event["id"].partition("-")[0])
