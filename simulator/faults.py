"""Faults on demand: which request meets which misfortune, decided by count, chance and a seed."""

import dataclasses
import random
from typing import Any

from simulator.errors import RefusedError

PER_REQUEST = (
    "status", "hang", "drop", "hang_mid", "disconnect", "eof", "error_event", "malformed", "split",
)  # fmt: skip
"""Kinds that one request meets; `docs/simulator.md` says what each does."""
WHOLE_UNIT = ("refuse", "unready", "freeze")
"""Kinds that befall the unit for `seconds`, from the moment they are set."""
NEED_NO_COUNT = -1


@dataclasses.dataclass(slots=True)
class Fault:
    """One rule. `count` -1 means for ever; `seconds` of simulated time, None for ever."""

    kind: str
    count: int = NEED_NO_COUNT
    probability: float = 1.0
    status: int = 500
    after_tokens: int = 3
    seconds: float | None = None
    retry_after_s: int | None = None
    path: str = ""
    hits: int = 0

    def draw(self, chance: random.Random) -> bool:
        """Whether it strikes now; a strike uses up one of `count`."""
        if self.count == 0 or (self.probability < 1 and chance.random() >= self.probability):
            return False
        if self.count > 0:
            self.count -= 1
        self.hits += 1
        return True


_TYPES: dict[str, tuple[type, ...]] = {
    "count": (int,),
    "probability": (int, float),
    "status": (int,),
    "after_tokens": (int,),
    "seconds": (int, float),
    "retry_after_s": (int,),
    "path": (str,),
}


def read_fault(fields: Any) -> Fault:
    """Raises RefusedError that names what is wrong with a rule."""
    if not isinstance(fields, dict) or fields.get("kind") not in (*PER_REQUEST, *WHOLE_UNIT):
        kinds = ", ".join((*PER_REQUEST, *WHOLE_UNIT))
        raise RefusedError(f"a fault is an object whose kind is one of: {kinds}", param="kind")
    for name, found in fields.items():
        if name != "kind" and not isinstance(found, _TYPES.get(name, ())):
            raise RefusedError(f"a fault has no such field or type: {name}={found!r}", param=name)
    fault = Fault(**fields)
    if fault.kind in WHOLE_UNIT and fault.seconds is None:
        raise RefusedError(f"the fault {fault.kind} needs seconds", param="seconds")
    if not 400 <= fault.status <= 599:  # noqa: PLR2004 - the range of HTTP errors
        raise RefusedError("status must be 400 to 599", param="status")
    return fault


class Faults:
    """The rules in force; the first that strikes is taken."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - which request fails is no secret
        self.rules: list[Fault] = []

    def draw(self, path: str, own: Any = None) -> Fault | None:
        """The fault that a request meets: its own, from its body, or one of the rules."""
        if own is not None:
            fault = read_fault(own)
            if fault.kind in WHOLE_UNIT:
                raise RefusedError(f"the fault {fault.kind} is not one of a request", param="kind")
            return fault if fault.draw(self._chance) else None
        for rule in self.rules:
            if rule.path in path and rule.draw(self._chance):
                return rule
        return None
