"""API keys: who asks. Without any configured, everybody may ask and owns what nobody else owns."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import ApiError, invalid_api_key, send_error

OWNER = "adasplit.owner"
"""The scope's entry for the name of the key's holder."""

_GUARDED = "/v1/"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ApiKeys:
    """Keys by their SHA-256. `configured`: `name:key` pairs with commas between them.

    A key of 64 hexadecimal digits is taken for the SHA-256 of the real one. Raises ValueError,
    which quotes no key.
    """

    def __init__(self, configured: str) -> None:
        self._digests: list[tuple[str, bytes]] = []
        for place, pair in enumerate(filter(None, configured.replace(" ", "").split(",")), 1):
            name, colon, key = pair.partition(":")
            if not (name and colon and key):
                raise ValueError(f"api_keys: entry {place} is not name:key")
            self._digests.append((name, bytes.fromhex(key) if _SHA256.fullmatch(key) else _of(key)))

    def owner(self, authorization: bytes) -> str | None:
        """The holder of the key in an Authorization header; None when it is nobody's.

        Compares with every key, each in constant time, so that the time taken tells nothing.
        """
        if not self._digests:
            return ""
        scheme, _, key = authorization.partition(b" ")
        given = hashlib.sha256(key.strip()).digest()
        holder = None
        for name, digest in self._digests:
            if hmac.compare_digest(given, digest):
                holder = name
        return holder if scheme.lower() == b"bearer" else None


def _of(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


class KeyGate:
    """Lets through to `/v1/` only who has a key, and notes whose it is.

    Requests for one of `jobs`, by path, then go straight there: nearly all do, and the framework's
    layers have nothing to add to them.
    """

    def __init__(
        self,
        app: ASGIApp,
        jobs: Mapping[str, ASGIApp],
        keys: ApiKeys,
        refused: Callable[[ApiError], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._jobs = jobs
        self._keys = keys
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(_GUARDED):
            given = [value for name, value in scope["headers"] if name == b"authorization"]
            owner = self._keys.owner(given[0] if len(given) == 1 else b"")
            if owner is None:
                error = invalid_api_key()
                self._refused(error)
                await send_error(send, error, [])
                return
            scope[OWNER] = owner
            if scope["method"] == "POST" and scope["path"] in self._jobs:
                await self._jobs[scope["path"]](scope, receive, send)
                return
        await self._app(scope, receive, send)
