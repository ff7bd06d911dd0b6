"""Short or long: by what the request says, else by its prompt's length."""

import math
import re
from collections.abc import Mapping

from common.keys import CLASSES, JobClass
from gateway.errors import malformed

CLASS_HEADER = "x-adasplit-class"
TIMEOUT_HEADER = "x-adasplit-timeout-s"
NAME_HEADER = "x-adasplit-name"

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""How a client may name its job, to ask for it while it waits."""


def asked_class(headers: Mapping[str, str]) -> JobClass | None:
    """The class that a request asks for. Raises ApiError 400."""
    asked = headers.get(CLASS_HEADER)
    if asked is None:
        return None
    if asked not in CLASSES:
        raise malformed(f"{CLASS_HEADER} is short or long.", CLASS_HEADER)
    return asked


def name_of(headers: Mapping[str, str]) -> str:
    """The client's own name for its job, empty when it has none. Raises ApiError 400."""
    asked = headers.get(NAME_HEADER, "")
    if asked and not NAME.fullmatch(asked):
        raise malformed(f"{NAME_HEADER} is 1 to 64 letters, digits, _, . and -.", NAME_HEADER)
    return asked


def class_of(tokens: int, long_threshold_tokens: int) -> JobClass:
    return "long" if tokens >= long_threshold_tokens else "short"


def timeout_of(headers: Mapping[str, str], request_timeout_s: float) -> float:
    """From submit to outcome, in seconds; at most request_timeout_s. Raises ApiError 400."""
    asked = headers.get(TIMEOUT_HEADER)
    if asked is None:
        return request_timeout_s
    try:
        timeout_s = float(asked)
    except ValueError:
        timeout_s = math.nan
    if not math.isfinite(timeout_s) or timeout_s <= 0:
        raise malformed(f"{TIMEOUT_HEADER} is a number of seconds above 0.", TIMEOUT_HEADER)
    return min(timeout_s, request_timeout_s)
