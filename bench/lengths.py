"""Distributions of lengths in tokens."""

import math
import random
import re
from collections.abc import Callable

Lengths = Callable[[random.Random], int]
"""Draws one length, at least 1."""

_CALL = re.compile(r"(?P<name>[a-z]+)\((?P<numbers>[^()]*)\)")


def read_lengths(text: str) -> Lengths:
    """A distribution by its name and numbers, or a plain number. Raises ValueError.

    `fixed(N)`, `uniform(LEAST,MOST)`, `lognormal(MEDIAN,SIGMA)`, `exponential(MEAN)`,
    `choice(A,B,…)`; SIGMA is that of the logarithm.
    """
    if text.isdecimal():
        return _fixed(float(text))
    found = _CALL.fullmatch(text)
    if not found:
        raise ValueError(f"neither a number nor one of {', '.join(_KINDS)} with its numbers")
    numbers = [_number(part) for part in found["numbers"].split(",")]
    make = _KINDS.get(found["name"])
    if make is None:
        raise ValueError(f"there is no {found['name']}; there is {', '.join(_KINDS)}")
    try:
        return make(*numbers)
    except TypeError:
        raise ValueError(f"{found['name']} takes another count of numbers") from None


def _fixed(tokens: float) -> Lengths:
    return lambda _dice: _whole(tokens)


def _uniform(least: float, most: float) -> Lengths:
    low, high = _whole(least), _whole(most)
    if low > high:
        raise ValueError(f"{least:g} is more than {most:g}")
    return lambda dice: dice.randint(low, high)


def _lognormal(median: float, sigma: float) -> Lengths:
    mu = math.log(median)
    return lambda dice: _whole(dice.lognormvariate(mu, sigma))


def _exponential(mean: float) -> Lengths:
    return lambda dice: _whole(dice.expovariate(1 / mean))


def _choice(*tokens: float) -> Lengths:
    lengths = [_whole(one) for one in tokens]
    return lambda dice: dice.choice(lengths)


_KINDS: dict[str, Callable[..., Lengths]] = {
    "fixed": _fixed,
    "uniform": _uniform,
    "lognormal": _lognormal,
    "exponential": _exponential,
    "choice": _choice,
}


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text or 'nothing'} is not a number") from None
    if not 0 < value < math.inf:
        raise ValueError(f"{text} is not above 0")
    return value


def _whole(tokens: float) -> int:
    return max(1, round(tokens))
