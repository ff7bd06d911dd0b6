"""The door: makes a job of a request, or refuses it without asking Redis."""

import secrets
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive

from common.models import NewJob
from gateway.classify import (
    CLASS_HEADER,
    NAME_HEADER,
    TIMEOUT_HEADER,
    asked_class,
    class_of,
    name_of,
    timeout_of,
)
from gateway.errors import (
    malformed,
    model_not_found,
    no_units,
    redis_unavailable,
    too_large,
    too_many_bodies,
    unsupported,
)
from gateway.keys import OWNER
from gateway.requests import Request, Route, parse_request
from gateway.settings import GatewaySettings
from gateway.shares import PRIORITY_HEADER, asked_priority
from gateway.tokens import TokenCounter, learnable_bytes
from gateway.turns import Turns
from gateway.watcher import Watcher

TRACEPARENT = "adasplit.traceparent"
"""The scope's entry for the span of a request that is traced."""

_LARGE_BYTES = 64 * 1024
"""What is shorter is parsed in a tenth of a millisecond."""

_HEADERS = {
    name.encode(): name
    for name in (
        CLASS_HEADER,
        TIMEOUT_HEADER,
        NAME_HEADER,
        PRIORITY_HEADER,
        "content-length",
        "content-type",
        "content-encoding",
        "transfer-encoding",
    )
}


class ClientLeft(Exception):
    """The client was gone before its request was complete."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A job, and how many bytes its prompt's tokens come from (0: not known)."""

    job: NewJob
    learnable_bytes: int


class Admission:
    """Checks a request against what the watcher last saw."""

    def __init__(
        self, settings: GatewaySettings, gateway: str, counter: TokenCounter, watcher: Watcher
    ) -> None:
        self._settings = settings
        self._shares = settings.shares()
        self._limits = settings.limits()
        self._gateway = gateway
        self._bounds = settings.bounds
        self._counter = counter
        self._watcher = watcher
        self._incoming_bytes = 0
        self._turns_of_large = Turns()

    async def admit(
        self, route: Route, scope: MutableMapping[str, Any], receive: Receive
    ) -> Admitted:
        """Raises ApiError, ClientLeft."""
        headers = _headers(scope)
        _check_kind(headers)
        chunks = await self._read_body(headers, receive)
        body, request = await self._parsed(chunks, route)
        asked = asked_class(headers)
        priority = asked_priority(headers, request.priority)
        name = name_of(headers)
        timeout_s = timeout_of(headers, self._settings.request_timeout_s)
        self._check_pool(request.model)
        owner = scope.get(OWNER, "")
        tokens = await self._counter.count(request.prompt)
        job = NewJob(
            id=f"job-{secrets.token_hex(16)}",
            job_class=asked or class_of(tokens, self._watcher.policy.long_threshold_tokens),
            tokens=tokens,
            gateway=self._gateway,
            route=route,
            stream=request.stream,
            body=body,
            owner=owner,
            timeout_s=timeout_s,
            traceparent=scope.get(TRACEPARENT, ""),
            weight=self._shares.weight(owner),
            priority=self._shares.priority(owner, priority),
            limits=self._limits.of(owner),
            name=name,
        )
        return Admitted(job, learnable_bytes(request.prompt))

    async def _read_body(self, headers: dict[str, str], receive: Receive) -> list[bytes]:
        most = self._settings.max_body_bytes
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            raise too_large(most)
        chunks: list[bytes] = []
        size_bytes = 0
        more = True
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                chunk = message.get("body", b"")
                size_bytes += len(chunk)
                self._incoming_bytes += len(chunk)
                if size_bytes > most:
                    raise too_large(most)
                if self._incoming_bytes > self._settings.max_bodies_bytes:
                    raise too_many_bodies()
                chunks.append(chunk)
                more = message.get("more_body", False)
                if more and size_bytes > _LARGE_BYTES:
                    # The server reads on when it is asked for more: one long body in a step.
                    async with self._turns_of_large:
                        pass
        finally:
            self._incoming_bytes -= size_bytes
        return chunks

    async def _parsed(self, chunks: list[bytes], route: Route) -> tuple[bytes, Request]:
        """The body and what it says. Raises ApiError 400.

        Long ones take turns of the loop: what has come for others goes on between them.
        """
        size_bytes = sum(map(len, chunks))
        if size_bytes <= _LARGE_BYTES:
            body = b"".join(chunks)
            return body, parse_request(body, route, self._bounds)
        self._incoming_bytes += size_bytes
        try:
            async with self._turns_of_large:
                body = b"".join(chunks)
                chunks.clear()
                return body, parse_request(body, route, self._bounds)
        finally:
            self._incoming_bytes -= size_bytes

    def _check_pool(self, model: str) -> None:
        # While Redis is away nobody waits for it: the watcher finds out when it is back.
        if not self._watcher.fresh:
            raise redis_unavailable()
        if not self._watcher.live_units:
            raise no_units(self._watcher.unit_back_s)
        models = self._watcher.models
        if models and model not in models:
            raise model_not_found(model)


def _headers(scope: MutableMapping[str, Any]) -> dict[str, str]:
    """Those headers that the gateway reads; no other goes any further. Raises ApiError 400."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = _HEADERS.get(raw)
        if name is not None:
            if name in found:
                raise malformed(f"The header {name} stands twice.", name)
            found[name] = value.decode("latin-1")
    return found


def _check_kind(headers: Mapping[str, str]) -> None:
    """Raises ApiError 415.

    A web page can make a visitor's browser post anything but this type to another host unasked.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise unsupported("The body is JSON and says so: `Content-Type: application/json`.")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise unsupported("The body is not compressed: no `Content-Encoding`.")
    if headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
        raise unsupported("The only `Transfer-Encoding` is chunked.")
