"""Who may look and who may press, and what a browser may do with the pages."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OPEN = {"/healthz", "/readyz", "/metrics"}
_LOOKING = {"GET", "HEAD"}
_SHA256 = re.compile(r"[0-9a-f]{64}")

_STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# rq-dashboard's pages hold their scripts inline and make templates of strings. They still load
# nothing from elsewhere and send nothing there.
_LENIENT = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Access:
    """Lets through who shows the key, and presses only from the dashboard's own pages.

    Without a key everybody looks who can reach it under an address (a name could be anybody's who
    rebinds it), and `presses` says whether they may press. The pages of a process, which tell
    numbers only, are open as everywhere.
    """

    def __init__(self, app: ASGIApp, key: str, *, presses: bool) -> None:
        self._app = app
        self._digest = _digest(key) if key else None
        self._presses = presses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["method"], Headers(scope=scope))
        answer = refusal or self._app
        await answer(scope, receive, _guarded(scope["path"], send))

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        if self._digest and not _knows(self._digest, headers.get("authorization", "")):
            asks = {"WWW-Authenticate": 'Basic realm="AdaSplit", charset="UTF-8"'}
            return PlainTextResponse("the dashboard's key, please", HTTPStatus.UNAUTHORIZED, asks)
        if not self._digest and not _is_address(headers.get("host", "")):
            return _forbidden(
                "without ADASPLIT_DASHBOARD_KEY this answers to an address, not a name"
            )
        if method in _LOOKING:
            return None
        if not self._presses:
            return _forbidden("pressing takes ADASPLIT_DASHBOARD_KEY, or a dashboard on loopback")
        if not _same_origin(headers):
            return _forbidden("pressed on another site's page")
        return None


def _forbidden(why: str) -> PlainTextResponse:
    return PlainTextResponse(why, HTTPStatus.FORBIDDEN)


def _digest(key: str) -> bytes:
    return bytes.fromhex(key) if _SHA256.fullmatch(key) else hashlib.sha256(key.encode()).digest()


def _knows(digest: bytes, authorization: str) -> bool:
    """Whether the key is the bearer's token, or the password under any name."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(hashlib.sha256(given.strip().encode()).digest(), digest)


def _is_address(host: str) -> bool:
    name = re.sub(r":\d+$", "", host).strip("[]")
    if name == "localhost":
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _same_origin(headers: Headers) -> bool:
    # Browsers say where a request comes from; what is no browser says nothing, and carries nobody's
    # cookies or remembered password.
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _guarded(path: str, send: Send) -> Send:
    policy = _LENIENT if path.startswith("/rq/") else _STRICT
    said: Iterable[tuple[str, str]] = (
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    )

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in said:
                headers[name] = value
        await send(message)

    return with_headers
