"""What arrives when: traces merged into one seeded list, known before the first is sent."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from bench.traces import TraceRow


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


def chats(rows: Iterable[TraceRow], *, source: str) -> Iterator[Arrival]:
    """Every row as it came."""
    return (_arrival(row, row.at_s, source) for row in rows)


def documents(
    rows: Iterable[TraceRow],
    *,
    source: str,
    min_prompt_tokens: int,
    thin: float,
    lump_s: float,
    seed: int,
) -> Iterator[Arrival]:
    """Long prompts only, each kept with probability `thin`, spread evenly over their lump.

    The log writes down arrivals in lumps of `lump_s`, so each is moved later by less than that.
    """
    # Both draws are made for every row: a row's fate then depends on nothing but seed and place.
    dice = random.Random(f"{seed}:{source}")
    for row in rows:
        delay_s, kept = dice.random() * lump_s, dice.random() < thin
        if kept and row.prompt_tokens > min_prompt_tokens:
            yield _arrival(row, row.at_s + delay_s, source)


def merged(
    *sources: Iterable[Arrival],
    window_s: float,
    time_scale: float,
    limits: Limits,
    oversize: Oversize,
) -> Workload:
    """The first `window_s` of trace time of all sources, played `time_scale` times as fast."""
    within = (one for source in sources for one in source if one.at_s < window_s)
    ordered = sorted(within, key=lambda one: one.at_s)
    scaled = (replace(one, at_s=one.at_s / time_scale) for one in ordered)
    return _fitted(scaled, limits, oversize)


def _arrival(row: TraceRow, at_s: float, source: str) -> Arrival:
    # A prompt or an answer of no tokens cannot be asked for.
    return Arrival(at_s, max(1, row.prompt_tokens), max(1, row.output_tokens), source)


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
