"""What each API key may have of a class: its weight, and how urgent its requests may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors import malformed

PRIORITY_HEADER = "x-adasplit-priority"

_LONGEST_NUMBER = 19

EVERYBODY = "*"
"""Stands in settings for every key that is not named, and for requests without a key."""

_LEAST_URGENT = 100
_HEAVIEST = 1000


def numbers_of(configured: str, setting: str, least: int, most: int) -> dict[str, int]:
    """`name:number,…` as numbers by name. Raises ValueError."""
    found = {}
    for place, pair in enumerate(filter(None, configured.replace(" ", "").split(",")), 1):
        name, _, number = pair.rpartition(":")
        if not name or not number.removeprefix("-").isdecimal():
            raise ValueError(f"{setting}: entry {place} is not name:number")
        if not least <= int(number) <= most:
            raise ValueError(f"{setting}: entry {place} is not from {least} to {most}")
        found[name] = int(number)
    return found


@dataclass(frozen=True)
class Shares:
    """Weights and the most urgent priorities, by a key's name."""

    weights: Mapping[str, int] = field(default_factory=dict)
    priorities: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, weights: str, priorities: str) -> "Shares":
        """From the settings' texts. Raises ValueError."""
        return cls(
            numbers_of(weights, "key_weights", 1, _HEAVIEST),
            numbers_of(priorities, "key_priorities", -_LEAST_URGENT, _LEAST_URGENT),
        )

    def weight(self, owner: str) -> int:
        return self.weights.get(owner, self.weights.get(EVERYBODY, 1))

    def priority(self, owner: str, asked: int) -> int:
        """The priority asked for, or the nearest to it that the key may use."""
        most_urgent = self.priorities.get(owner, self.priorities.get(EVERYBODY, 0))
        return max(most_urgent, min(asked, _LEAST_URGENT))


def asked_priority(headers: Mapping[str, str], body_priority: int) -> int:
    """The header's priority, else the body's; lower is more urgent. Raises ApiError 400."""
    asked = headers.get(PRIORITY_HEADER)
    if asked is None:
        return body_priority
    # Python reads no number of thousands of digits, and 64 bits have 19.
    if not asked.strip().removeprefix("-").isdecimal() or len(asked) > _LONGEST_NUMBER:
        raise malformed(f"{PRIORITY_HEADER} is a whole number.", PRIORITY_HEADER)
    return int(asked)
