"""Sends one request to a unit and its answer back, bytes unchanged."""

from collections.abc import Mapping
from http import HTTPStatus

import aiohttp
from starlette.types import Send

from baseline.errors import Refused, unit_failed

_JSON = {"content-type": "application/json", "accept-encoding": "identity"}
Headers = list[tuple[bytes, bytes]]


class Units:
    """The units by name, and the connections to them."""

    def __init__(self, urls: Mapping[str, str], session: aiohttp.ClientSession) -> None:
        self.urls = urls
        self.session = session

    async def relay(self, unit: str, path: str, body: bytes, headers: Headers, send: Send) -> int:
        """The status that the client got. Raises Refused before the first byte only."""
        begun = False
        try:
            async with self.session.post(
                self.urls[unit] + path, data=body, headers=_JSON
            ) as answer:
                status = answer.status
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise unit_failed(f"it answered {answer.status}")
                begun = True
                await send(_start(status, answer.headers, headers))
                while chunk := await answer.content.readany():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (aiohttp.ClientError, OSError) as error:
            failed = unit_failed(str(error) or type(error).__name__)
            if not begun:
                raise failed from error
            last_word = b"\n\ndata: " + failed.body + b"\n\n"
            await send({"type": "http.response.body", "body": last_word})
            return failed.status
        await send({"type": "http.response.body", "body": b""})
        return status

    async def get(self, unit: str, path: str) -> bytes | None:
        """A page of a unit; None when it does not answer 200."""
        try:
            async with self.session.get(self.urls[unit] + path) as answer:
                body = await answer.read()
                return body if answer.status == HTTPStatus.OK else None
        except (aiohttp.ClientError, OSError):
            return None


def open_session(api_key: str, connect_timeout_s: float) -> aiohttp.ClientSession:
    """No limit on how many requests are open at once: the policy decides that."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s),
        headers={"authorization": f"Bearer {api_key}"} if api_key else None,
    )


async def send_refusal(send: Send, refusal: Refused, headers: Headers) -> None:
    """The last answer of a request that no unit answers."""
    content = [(b"content-type", b"application/json")]
    if refusal.status == HTTPStatus.TOO_MANY_REQUESTS:
        content.append((b"retry-after", b"1"))
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": [*content, (b"content-length", str(len(refusal.body)).encode()), *headers],
        }
    )
    await send({"type": "http.response.body", "body": refusal.body})


def _start(status: int, said: Mapping[str, str], headers: Headers) -> dict[str, object]:
    content_type = said.get("content-type", "application/json").encode("latin-1", "replace")
    every = [(b"content-type", content_type), *headers]
    if content_type.startswith(b"text/event-stream"):
        every.append((b"cache-control", b"no-cache"))
    elif "content-length" in said:
        every.append((b"content-length", said["content-length"].encode()))
    return {"type": "http.response.start", "status": status, "headers": every}
