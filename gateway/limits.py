"""What an API key may use: jobs at a time, requests and prompt tokens a minute."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from common.models import Budget, Limits
from gateway.shares import EVERYBODY

_NAMES = ("jobs", "requests", "tokens")

NO_LIMITS = Limits()


def _limits(text: str) -> Limits | None:
    limits = NO_LIMITS
    for pair in text.split("/"):
        name, _, number = pair.partition("=")
        if name not in _NAMES or not number.isdecimal() or int(number) < 1:
            return None
        limits = replace(limits, **{name: int(number)})
    return limits


@dataclass(frozen=True)
class KeyLimits:
    """Limits by a key's name."""

    by_name: Mapping[str, Limits] = field(default_factory=dict)

    @classmethod
    def parse(cls, configured: str) -> "KeyLimits":
        """From a text like `name:jobs=8/requests=600/tokens=100000,…`. Raises ValueError."""
        found = {}
        for place, pair in enumerate(filter(None, configured.replace(" ", "").split(",")), 1):
            name, _, text = pair.rpartition(":")
            limits = _limits(text)
            if not name or limits is None:
                raise ValueError(
                    f"key_limits: entry {place} is not name:jobs=8/requests=600/tokens=100000"
                )
            found[name] = limits
        return cls(found)

    def of(self, owner: str) -> Limits:
        return self.by_name.get(owner, self.by_name.get(EVERYBODY, NO_LIMITS))


def headers_of(limits: Limits, budget: Budget | None) -> list[tuple[bytes, bytes]]:
    """OpenAI's headers, for the limits that a key has; jobs at a time have none there."""
    if budget is None:
        return []
    told = (
        ("requests", limits.requests, budget.requests_left, budget.requests_reset_s),
        ("tokens", limits.tokens, budget.tokens_left, budget.tokens_reset_s),
    )
    return [
        (f"x-ratelimit-{kind}-{name}".encode(), value.encode())
        for name, limit, left, reset_s in told
        if limit is not None
        for kind, value in (
            ("limit", str(limit)),
            ("remaining", str(left)),
            ("reset", duration(reset_s)),
        )
    ]


def duration(seconds: float) -> str:
    """A time as OpenAI writes it: 0s, 120ms, 1.5s, 6m0s."""
    whole_ms = math.ceil(seconds * 1000)
    if 0 < whole_ms < 1000:  # noqa: PLR2004  # milliseconds in a second
        return f"{whole_ms}ms"
    minutes, ms = divmod(whole_ms, 60_000)
    rest = f"{ms / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
