"""Who may ask for what: the gate before every page, by the key that a request brings."""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import ApiError, host_not_allowed, invalid_api_key, send_error
from gateway.keyring import KeyRing

OWNER = "adasplit.owner"
"""The scope's entry for the name of the key's holder."""

_OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
_ADMIN = frozenset({"/v1/state", "/metrics"})


class KeyGate:
    """Lets through only who has a key, but to a few open pages, and notes whose it is.

    Requests for one of `jobs`, by path, then go straight there: nearly all do, and the framework's
    layers have nothing to add to them. Without any keys everybody may ask, and owns what nobody
    else owns; unless that is set in so many words, only under a name of this machine, so that no
    web page can reach it under a name of its own that it lets point here.
    """

    def __init__(
        self,
        app: ASGIApp,
        jobs: Mapping[str, ASGIApp],
        keys: KeyRing,
        refused: Callable[[ApiError], None],
        *,
        anonymous: bool,
    ) -> None:
        self._app = app
        self._jobs = jobs
        self._keys = keys
        self._refused = refused
        self._anonymous = anonymous

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in _OPEN:
            await self._app(scope, receive, send)
            return
        keys = self._keys.admin if path in _ADMIN and self._keys.admin else self._keys.api
        if keys:
            holder = keys.holder(_only(scope["headers"], b"authorization"))
            # Whoever scrapes has no key of those who ask: admin keys close this page, too.
            if holder is None and not (path == "/metrics" and keys is self._keys.api):
                await self._refuse(send, invalid_api_key(), [(b"www-authenticate", b"Bearer")])
                return
            scope[OWNER] = holder or ""
        elif not (self._anonymous or _is_near(_only(scope["headers"], b"host"))):
            await self._refuse(send, host_not_allowed(), [])
            return
        if path in self._jobs and scope["method"] == "POST":
            await self._jobs[path](scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _refuse(
        self, send: Send, error: ApiError, headers: list[tuple[bytes, bytes]]
    ) -> None:
        self._refused(error)
        await send_error(send, error, headers)


def _only(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    """The one header of a name; nothing where there are several."""
    given = [value for name, value in headers if name == wanted]
    return given[0] if len(given) == 1 else b""


@lru_cache(maxsize=256)
def _is_near(host: bytes) -> bool:
    """Whether a Host header names this machine, or an address, or nothing: no other site's name."""
    name = host.decode("latin-1").strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if not name or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
