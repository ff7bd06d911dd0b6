"""API keys: whose a key is, without keeping any in clear."""

import hashlib
import hmac
import re
from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOBODY = ("", bytes(32))


class BadKeys(ValueError):
    """What is configured are no keys; the message quotes none."""


class ApiKeys:
    """Keys by their SHA-256. `configured`: `name:key` pairs with commas or line ends between them.

    A key of 64 hexadecimal digits is taken for the SHA-256 of the real one. A name may have several
    keys, so that a new one can be given out before the old one ends. Raises BadKeys.
    """

    def __init__(self, configured: str) -> None:
        self._holders: dict[bytes, tuple[str, bytes]] = {}
        for place, pair in enumerate(_pairs(configured), 1):
            name, colon, key = (part.strip() for part in pair.partition(":"))
            if not (name and colon and key):
                raise BadKeys(f"entry {place} is not name:key")
            digest = bytes.fromhex(key) if _SHA256.fullmatch(key) else _sha256(key.encode())
            if self._holders.setdefault(digest, (name, digest))[0] != name:
                raise BadKeys(f"entry {place} is the key of another name, too")

    def __bool__(self) -> bool:
        return bool(self._holders)

    def holder(self, authorization: bytes) -> str | None:
        """The holder of the key in an Authorization header; None when it is nobody's.

        What is compared are digests: how alike two of them are tells nothing of a key, and the time
        that it takes does not depend on how many keys there are.
        """
        scheme, _, key = authorization.partition(b" ")
        given = _sha256(key.strip())
        name, digest = self._holders.get(given, _NOBODY)
        right = hmac.compare_digest(given, digest)
        return name if right and scheme.lower() == b"bearer" else None


def read_keys(file: Path | None) -> str:
    """The pairs in a file, one a line, with comments from `#` on. Raises BadKeys."""
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadKeys(f"cannot read {file}: {type(error).__name__}") from None


def _pairs(configured: str) -> list[str]:
    lines = [line.partition("#")[0] for line in configured.splitlines()]
    return [pair.strip() for line in lines for pair in line.split(",") if pair.strip()]


def _sha256(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
