"""What the page asks for every second, made once a look for all who watch."""

import time
from typing import Any

import orjson

from common.keys import CLASSES, JobClass
from common.models import JobView, UnitView
from common.policy import Policy
from common.state import limit_of
from dashboard.history import History, rounded
from dashboard.settings import DashboardSettings
from dashboard.sight import Sight

_RATE_S = 30.0
_POLICY_SHOWN = ("qhap_scale_up_above", "qhap_scale_down_below", "qhap_min_short", "qhap_min_long")


class Live:
    """Encodes the history's last sight once, and adds the points that a page has not seen."""

    def __init__(self, history: History, settings: DashboardSettings, *, rq: bool = False) -> None:
        self._rq = rq
        self._history = history
        self._settings = settings
        self._encoded: tuple[int, bytes] = (-1, b"")

    def page(self, boot: str, after: int) -> bytes:
        """JSON for a page that has seen the points up to `after` of a dashboard's `boot`."""
        history = self._history
        if self._encoded[0] != history.number:
            self._encoded = (history.number, orjson.dumps(self._now()))
        known = after if boot == history.boot else 0
        points = b",".join(history.points_after(known))
        return b'{"points":[' + points + b'],"now":' + self._encoded[1] + b"}"

    def _now(self) -> dict[str, Any]:
        history, sight = self._history, self._history.sight
        return {
            "boot": history.boot,
            "number": history.number,
            "clock_ms": round(time.time() * 1000),
            "pool": self._settings.pool,
            "look_s": self._settings.dashboard_look_s,
            "history_s": self._settings.dashboard_history_s,
            "rq": self._rq,
            "redis": {
                "up": history.up,
                "down_since_ms": _ms(history.down_since_s),
                "seen_ms": _ms(history.seen_s),
                "error": "" if history.up else history.why_down,
            },
            "sight": None if sight is None else self._sight(sight),
            "told": list(history.happenings.told),
        }

    def _sight(self, sight: Sight) -> dict[str, Any]:
        view = sight.view
        policy = self._settings.under(view.overrides)
        happenings, now_ms = self._history.happenings, view.now_ms
        span_s = self._settings.dashboard_history_s
        return {
            "now_ms": now_ms,
            "models": sorted({model for unit in view.units for model in unit.models}),
            "leader": sight.leader,
            "cooldown_s": rounded(sight.cooldown_s),
            "overrides": view.overrides,
            "policy": {name: getattr(policy, name) for name in _POLICY_SHOWN},
            "classes": {name: self._class(sight, name) for name in CLASSES},
            "units": [self._unit(unit, sight, policy) for unit in view.units],
            "counts": {
                name: len(window.last(now_ms, span_s))
                for name, window in (
                    ("flips", happenings.flips),
                    ("steals", happenings.steals),
                    ("mishaps", happenings.mishaps),
                )
            },
            "skipped": self._history.skipped,
        }

    def _class(self, sight: Sight, name: JobClass) -> dict[str, Any]:
        view, history = sight.view, self._history
        span_s = self._settings.dashboard_history_s
        queue = view.queues[name]
        in_flight = [unit.short if name == "short" else unit.long for unit in view.units]
        return {
            "depth": queue.depth,
            "oldest_s": rounded(queue.oldest_s),
            "in_flight": sum(in_flight),
            "ended_per_s": round(
                history.happenings.endings[name].per_second(view.now_ms, _RATE_S), 2
            ),
            "wait_s": history.happenings.waits[name].quantiles(view.now_ms, span_s),
            "ttft_s": history.ttfts[name].quantiles(view.now_ms, span_s),
        }

    def _unit(self, unit: UnitView, sight: Sight, policy: Policy) -> dict[str, Any]:
        limits = {name: limit_of(unit, sight.view, policy, name) for name in CLASSES}
        held = sight.held[unit.name]
        jobs = [sight.jobs[job] for job in held.jobs if job in sight.jobs]
        jobs.sort(key=lambda job: (job.claimed_ms or 0, job.id))
        return {
            "name": unit.name,
            "role": unit.role,
            "alive": unit.alive,
            "draining": unit.draining,
            "short": unit.short,
            "long": unit.long,
            "limits": limits,
            "load": round(sum(_share(unit, name) / limits[name] for name in CLASSES), 3),
            "idle_s": rounded(unit.idle_s),
            "heartbeat_s": rounded(unit.heartbeat_s),
            "held": held.count,
            "jobs": [_job(job, unit, sight.view.now_ms) for job in jobs],
        }


def _share(unit: UnitView, name: JobClass) -> int:
    return unit.short if name == "short" else unit.long


def _job(job: JobView, unit: UnitView, now_ms: int) -> dict[str, Any]:
    # Ids, sizes and times only: neither prompts nor whose job it is are for a page on a wall.
    claimed_ms = job.claimed_ms or now_ms
    return {
        "id": job.id,
        "class": job.job_class,
        "tokens": job.tokens,
        "attempt": job.attempt,
        "why": job.why,
        "held_s": round(max(0, now_ms - claimed_ms) / 1000, 1),
        "lost": not unit.alive,
    }


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
