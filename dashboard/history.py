"""What a dashboard remembers: the last sight, a point for every look, and what happened since."""

import secrets
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from common.keys import CLASSES, JobClass
from common.models import JobView, UnitView
from dashboard.happenings import Happenings
from dashboard.settings import DashboardSettings
from dashboard.sight import Sight
from dashboard.window import Window

LANES_SHOWN = 64
"""Units whose last minutes are kept; a page with more of them would show nothing."""

ROLLING_S = 20.0
"""The span of the quantiles that a point of a chart holds."""


class History:
    """Grows by one point a look and forgets the oldest; its memory is bounded.

    Points are numbered and encoded once, whoever asks for them later. `boot` tells a page that the
    numbers began anew.
    """

    def __init__(self, settings: DashboardSettings) -> None:
        span_s = settings.dashboard_history_s
        self.boot = secrets.token_hex(4)
        self.number = 0
        self.sight: Sight | None = None
        self.up = True
        self.why_down = ""
        self.down_since_s: float | None = None
        self.seen_s: float | None = None
        self._redis_ahead_ms = 0.0
        self.skipped = 0
        self.happenings = Happenings(span_s, settings.dashboard_rq_jobs)
        self.ttfts = {name: Window(span_s) for name in CLASSES}
        self._points: deque[tuple[int, bytes]] = deque(
            maxlen=round(span_s / settings.dashboard_look_s)
        )

    @property
    def ready(self) -> bool:
        """Whether the last look saw the pool."""
        return self.up and self.sight is not None

    def add(
        self,
        sight: Sight,
        events: Sequence[Mapping[str, str]],
        ended: list[JobView],
        skipped: int = 0,
    ) -> None:
        """Take in a look: what it saw, the events since the last one, and jobs that ended."""
        now_ms = sight.view.now_ms
        for event in events:
            self.happenings.add(event)
        for job in ended:
            # A whole answer has no first token of its own.
            if job.stream and job.outcome == "ok" and job.first_byte_ms and job.finished_ms:
                ttft_s = max(0, job.first_byte_ms - job.submitted_ms) / 1000
                self.ttfts[job.job_class].add(job.finished_ms, ttft_s)
        self.happenings.forget_before(now_ms)
        for window in self.ttfts.values():
            window.forget_before(now_ms)
        self.sight, self.skipped = sight, skipped
        self.up, self.down_since_s, self.seen_s = True, None, time.time()
        self._redis_ahead_ms = now_ms - self.seen_s * 1000
        self._append(self._point(sight))

    def miss(self, why: str) -> None:
        """Take in a look that found no Redis: a gap in every chart, never a zero."""
        if self.up:
            self.down_since_s = time.time()
        self.up, self.why_down = False, why
        # On Redis's clock, as all points are.
        at_ms = round(time.time() * 1000 + self._redis_ahead_ms)
        self._append({"t": at_ms, "gap": True})

    def points_after(self, number: int) -> list[bytes]:
        """The encoded points after a number, oldest first."""
        return [point for own, point in self._points if own > number]

    def _append(self, point: dict[str, Any]) -> None:
        self.number += 1
        self._points.append((self.number, orjson.dumps(point)))

    def _point(self, sight: Sight) -> dict[str, Any]:
        view = sight.view
        return {
            "t": view.now_ms,
            **{name: self._class_point(sight, name) for name in CLASSES},
            "units": {unit.name: lane(unit) for unit in view.units[:LANES_SHOWN]},
        }

    def _class_point(self, sight: Sight, name: JobClass) -> dict[str, Any]:
        queue, now_ms = sight.view.queues[name], sight.view.now_ms
        waits = self.happenings.waits[name].quantiles(now_ms, ROLLING_S)
        ttfts = self.ttfts[name].quantiles(now_ms, ROLLING_S)
        return {
            "depth": queue.depth,
            "wait_p95": rounded(waits["p95"]),
            "ttft_p50": rounded(ttfts["p50"]),
            "ttft_p95": rounded(ttfts["p95"]),
        }


def lane(unit: UnitView) -> list[int]:
    """A unit in a point: role, short and long in flight, and 1 when it took jobs."""
    return [int(unit.role == "long"), unit.short, unit.long, int(unit.alive and not unit.draining)]


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
