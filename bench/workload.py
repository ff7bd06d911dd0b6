"""What arrives when: all sources merged into one list, known before the first is sent."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Oversize(StrEnum):
    """What becomes of a prompt that is too long for a unit."""

    CLAMP = "clamp"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request to send, `at_s` after the start of the run."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    source: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What a unit can take; None means that nothing is known to be too long."""

    prompt_tokens: int | None = None
    total_tokens: int | None = None

    def prompt_room(self, arrival: Arrival) -> int:
        """The longest prompt that fits beside the output of this arrival."""
        rooms = [arrival.prompt_tokens]
        if self.prompt_tokens is not None:
            rooms.append(self.prompt_tokens)
        if self.total_tokens is not None:
            rooms.append(self.total_tokens - arrival.output_tokens)
        return min(rooms)


@dataclass(frozen=True, slots=True)
class Workload:
    """A finished list of arrivals in order of time, and what was done to make it fit."""

    arrivals: tuple[Arrival, ...]
    clamped: int = 0
    dropped: int = 0

    @property
    def span_s(self) -> float:
        return self.arrivals[-1].at_s if self.arrivals else 0.0

    def sources(self) -> dict[str, int]:
        return dict(sorted(Counter(arrival.source for arrival in self.arrivals).items()))

    def digest(self) -> str:
        """SHA-256 over every arrival: equal digests mean that the same load was offered."""
        sha = hashlib.sha256()
        for one in self.arrivals:
            sha.update(
                f"{one.at_s:.6f} {one.prompt_tokens} {one.output_tokens} {one.source}\n".encode()
            )
        return sha.hexdigest()

    def described(self) -> dict[str, Any]:
        """What a result file says about the load."""
        return {
            "digest": self.digest(),
            "requests": len(self.arrivals),
            "span_s": self.span_s,
            "sources": self.sources(),
            "prompt_tokens": sum(one.prompt_tokens for one in self.arrivals),
            "output_tokens": sum(one.output_tokens for one in self.arrivals),
            "clamped": self.clamped,
            "dropped": self.dropped,
        }


def merged(
    arrivals: Iterable[Arrival],
    *,
    limits: Limits | None = None,
    oversize: Oversize = Oversize.CLAMP,
) -> Workload:
    """The arrivals of all sources in order of time, made to fit the unit."""
    ordered = sorted(arrivals, key=lambda one: one.at_s)
    return _fitted(ordered, limits or Limits(), oversize)


def _fitted(arrivals: Iterable[Arrival], limits: Limits, oversize: Oversize) -> Workload:
    kept: list[Arrival] = []
    clamped = dropped = 0
    for one in arrivals:
        room_tokens = limits.prompt_room(one)
        if room_tokens == one.prompt_tokens:
            kept.append(one)
        elif oversize is Oversize.DROP or room_tokens < 1:
            dropped += 1
        else:
            clamped += 1
            kept.append(replace(one, prompt_tokens=room_tokens))
    return Workload(tuple(kept), clamped, dropped)
