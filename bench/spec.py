"""Reads the small language of the command line: `KIND:TARGET,key=value,key=value`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

# A comma inside brackets belongs to a value, such as lognormal(600,1.2).
_COMMA = re.compile(r",(?![^(]*\))")
_Value = TypeVar("_Value")


class SpecError(Exception):
    """A text that does not say what it should; the message is one line for the user."""


@dataclass(slots=True)
class Spec:
    """One such text, taken apart; each `take_` gives a key's value and crosses the key off."""

    text: str
    kind: str
    target: str
    _fields: dict[str, str] = field(default_factory=dict)

    def take(self, key: str, parse: Callable[[str], _Value], default: _Value) -> _Value:
        """The value of a key, or the default. Raises SpecError when it cannot be parsed."""
        if key not in self._fields:
            return default
        text = self._fields.pop(key)
        try:
            return parse(text)
        except ValueError as error:
            raise self.wrong(f"{key}={text}: {error}") from None

    def need(self, key: str, parse: Callable[[str], _Value]) -> _Value:
        """The value of a key that must be there. Raises SpecError."""
        if key not in self._fields:
            raise self.wrong(f"{key}= is missing")
        text = self._fields.pop(key)
        try:
            return parse(text)
        except ValueError as error:
            raise self.wrong(f"{key}={text}: {error}") from None

    def end(self) -> None:
        """Raises SpecError when a key is left that nobody took."""
        if self._fields:
            raise self.wrong(f"{self.kind} knows no {', '.join(self._fields)}")

    def wrong(self, why: str) -> SpecError:
        return SpecError(f"{self.text}: {why}")


def read_spec(text: str) -> Spec:
    """Take a text apart. Raises SpecError when a field is no key=value, or a key stands twice."""
    head, *pairs = (part.strip() for part in _COMMA.split(text))
    kind, _, target = head.partition(":")
    spec = Spec(text, kind, target)
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise spec.wrong(f"{pair or 'nothing'} stands where key=value should")
        if key in spec._fields:
            raise spec.wrong(f"{key}= stands there twice")
        spec._fields[key] = value
    return spec


def number(text: str, *, above: float | None = None, least: float = 0.0) -> float:
    """A number of at least `least`, or above `above`. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError("not a number") from None
    if above is not None and not value > above:
        raise ValueError(f"not above {above:g}")
    if not value >= least:
        raise ValueError(f"less than {least:g}")
    return value


def positive(text: str) -> float:
    return number(text, above=0)


def share(text: str) -> float:
    if (value := number(text)) > 1:
        raise ValueError("more than 1")
    return value


def count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("not a whole number")
    return int(text)
