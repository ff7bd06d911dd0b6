"""What units hold and prefill, as the adaptive decision needs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

from common.keys import JobClass
from common.models import Prefilling, UnitView


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A unit, the tokens of the prompts of its short jobs, and what it prefills."""

    unit: UnitView
    short_tokens: int
    prefilling: tuple[Prefilling, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """Some units at about one moment.

    `next_long_tokens` are the prompt of the long job that is claimed next; 0 when none waits.
    """

    next_long_tokens: int
    units: tuple[Surveyed, ...]

    @property
    def prefilling(self) -> tuple[Prefilling, ...]:
        return tuple(chain.from_iterable(seen.prefilling for seen in self.units))


def surveyed(reply: Sequence[Any]) -> Surveyed:
    """One unit of the script's answer; of it only what decisions need is known."""
    name, role, alive, draining, short, long, pace, *limits, tokens = reply[:13]
    unit = name.decode()
    limit, limit_short, limit_long, online_short, online_long = (int(one or 0) for one in limits)
    view = UnitView(
        name=unit,
        role=cast("JobClass", role.decode()),
        alive=alive == 1,
        draining=draining == 1,
        short=short,
        long=long,
        limit=limit,
        limit_short=limit_short,
        limit_long=limit_long,
        online_short=online_short,
        online_long=online_long,
        pace=float(pace or 1),
    )
    return Surveyed(view, tokens, tuple(_prefilling(unit, job) for job in reply[13:]))


def _prefilling(unit: str, reply: Sequence[Any]) -> Prefilling:
    job_class, tokens, claimed_ms, stream, job, attempt, revoked = reply
    return Prefilling(
        unit,
        cast("JobClass", job_class.decode()),
        tokens,
        claimed_ms,
        streams=stream == b"1",
        job=job.decode(),
        attempt=attempt,
        revoked=revoked,
    )
