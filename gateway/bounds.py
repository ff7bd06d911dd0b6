"""What a request may ask for at most, as settings say; all else is the unit's to judge."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.errors import malformed

_FETCHED = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:)?//|\s*file:", re.IGNORECASE)
"""What a unit's loader of media would fetch, from a host or from its own disk."""

_CONTENT = re.compile(r"\s*data:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Bounds:
    """`numbers`: the most that a field may hold, by its name."""

    numbers: Mapping[str, int]
    messages: int
    prompts: int
    name_chars: int
    text_chars: int
    objects: int
    depth: int
    refused_fields: frozenset[str]
    media_urls: bool

    def check_number(self, name: str, value: Any) -> None:
        most = self.numbers.get(name)
        if most is not None and type(value) is int and value > most:
            raise malformed(f"`{name}` is at most {most} here.", name)

    def check_name(self, name: str, value: str) -> None:
        if len(value) > self.name_chars:
            raise malformed(f"`{name}` has at most {self.name_chars} characters.", name)

    def check_texts(self, name: str, texts: Sequence[str]) -> None:
        if any(len(text) > self.text_chars for text in texts):
            raise malformed(f"A text has at most {self.text_chars} characters.", name)

    def check_part(self, part: Mapping[str, Any], param: str) -> None:
        """A part of a message that is more than text. Raises ApiError 400."""
        if not self.media_urls and _names_media(part):
            raise malformed(
                "Pictures, sounds and films come in the request, as data: URLs; "
                "others are not fetched here.",
                param,
            )


def _names_media(value: Any, name: str = "") -> bool:
    """Whether a part, whose nesting is bounded already, names something to be fetched."""
    if isinstance(value, str):
        if name.endswith("url"):
            return not _CONTENT.match(value)
        return _FETCHED.match(value) is not None
    if isinstance(value, dict):
        # An object under a name that ends so is `{"url": …}`.
        return any(_names_media(each, key.lower()) for key, each in value.items())
    return isinstance(value, list) and any(_names_media(each, name) for each in value)
