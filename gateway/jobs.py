"""What the gateway tells of one job, and its cancelling."""

import re
from collections.abc import Mapping
from typing import Any, cast

from common.keys import JobClass
from common.standing import Standings
from common.store import Store
from common.views import Views
from gateway.classify import NAME
from gateway.errors import job_not_found
from gateway.estimator import Estimator

_TIMES = ("submitted", "claimed", "first_byte", "finished", "deadline")
_SHOWN = ("state", "outcome", "class", "unit", "why", "reason", "route")

_JOB = re.compile(r"job-[0-9a-f]{32}(-again[0-9]{1,6})?")
"""As the gateway makes them; anything else can only be a name."""

_ANSWERS = {"OK": "cancelled", "ASKED": "cancelling", "FINISHED": "finished"}


class Jobs:
    """Read from Redis at each call. All raise ApiError 404 and RedisUnavailable."""

    def __init__(
        self, store: Store, views: Views, standings: Standings, estimator: Estimator
    ) -> None:
        self._store = store
        self._views = views
        self._standings = standings
        self._estimator = estimator

    async def tell(self, job: str, owner: str) -> dict[str, Any]:
        job, fields = await self._found(job, owner)
        standing = await self._standings.by_fields(job, fields)
        estimate = standing and self._estimator.of(_class(fields), standing)
        return {
            "id": job,
            "object": "job",
            **{name: fields.get(name) for name in _SHOWN},
            "position": standing and standing.position,
            "estimated_start_s": estimate and round(estimate.told_s, 3),
            "attempts": int(fields.get("attempt", 0)),
            "tokens": int(fields.get("tokens", 0)),
            "status": int(fields["status"]) if "status" in fields else None,
            "stream": fields.get("stream") == "1",
            "times_ms": {name: _ms(fields, name) for name in _TIMES},
            "durations_s": _durations_s(fields),
        }

    async def cancel(self, job: str, owner: str) -> dict[str, Any]:
        job, fields = await self._found(job, owner)
        answer = await self._store.cancel(
            job, _class(fields), fields.get("gateway", ""), "asked for"
        )
        if answer not in _ANSWERS:
            raise job_not_found(job)
        return {"id": job, "object": "job", "result": _ANSWERS[answer]}

    async def _found(self, asked: str, owner: str) -> tuple[str, dict[str, str]]:
        """A job by its id, or by the name that its owner gave it. Raises ApiError 404."""
        job = asked
        if not _JOB.fullmatch(asked):
            job = await self._views.named(owner, asked) if NAME.fullmatch(asked) else ""
        if not job:
            raise job_not_found(asked[:64])
        fields = await self._views.job(job)
        # Another's job is as unknown as none: its id is not to be found out by asking.
        if not fields.get("state") or fields.get("owner", "") != owner:
            raise job_not_found(asked)
        return job, fields


def _class(fields: Mapping[str, str]) -> JobClass:
    return cast("JobClass", fields.get("class", "short"))


def _ms(fields: Mapping[str, str], name: str) -> int | None:
    value = fields.get(f"{name}_ms")
    return int(value) if value else None


def _durations_s(fields: Mapping[str, str]) -> dict[str, float | None]:
    def between(start: str, end: str) -> float | None:
        begun, ended = _ms(fields, start), _ms(fields, end)
        return None if begun is None or ended is None else (ended - begun) / 1000

    return {
        "queue": between("submitted", "claimed"),
        "ttft": between("submitted", "first_byte"),
        "total": between("submitted", "finished"),
    }
