"""The HTTP face of a vLLM server, as a plain ASGI application."""

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from simulator import text
from simulator.errors import RefusedError, error_body
from simulator.exchange import Exchange, Message, Receive, Send, watch
from simulator.faults import Fault, read_fault
from simulator.requests import check_model, parse_request, read_object
from simulator.tamper import CutError, Tampered, hang
from simulator.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "0.26.0"
"""Of the vLLM server that the default calibration was measured on."""

Scope = dict[str, Any]
_JSON = b"application/json"
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_PATH_OF_FAULTS = "/simulator/faults"


class App:
    """Routes by path; everything that lasts belongs to the unit."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._generating = {"/v1/chat/completions": True, "/v1/completions": False}
        self._routes: dict[tuple[str, str], Callable[[bytes], tuple[int, bytes]]] = {
            ("GET", "/health"): self._health,
            ("GET", "/ping"): self._health,
            ("POST", "/ping"): self._health,
            ("GET", "/version"): lambda _: _json({"version": VERSION}),
            ("GET", "/v1/models"): self._models,
            ("GET", "/metrics"): lambda _: (200, unit.metrics.text()),
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
            ("GET", _PATH_OF_FAULTS): self._show_faults,
            ("POST", _PATH_OF_FAULTS): self._add_faults,
            ("DELETE", _PATH_OF_FAULTS): self._clear_faults,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _read_body(receive)
            if body is not None:
                await self._answer(scope, body, receive, send)
        except RefusedError as refusal:
            await _reply(send, refusal.status, orjson.dumps(refusal.body))

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        route = self._routes.get((method, path))
        if route is not None:
            status, content = route(body)
            await _reply(send, status, content, _PROMETHEUS if path == "/metrics" else _JSON)
        elif path not in self._generating:
            raise _no_route(path in {known for _, known in self._routes})
        elif method != "POST":
            raise _no_route(known=True)
        else:
            await self._generate(scope, body, receive, send)

    async def _generate(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        unit = self._unit
        if not unit.ready:
            raise RefusedError("The unit is starting.", status=HTTPStatus.SERVICE_UNAVAILABLE)
        request = parse_request(body, unit.rules, chat=self._generating[scope["path"]])
        fault = unit.faults.draw(scope["path"], request.fault)
        exchange = Exchange(request, unit.driver)
        watching = asyncio.create_task(watch(receive, exchange))
        try:
            if await self._met_before_start(fault, exchange, scope, send):
                return
            unit.metrics.received(request.n, request.max_tokens)
            exchange.start()
            await self._deliver(exchange, fault, send)
        finally:
            watching.cancel()
            exchange.leave()

    async def _met_before_start(
        self, fault: Fault | None, exchange: Exchange, scope: Scope, send: Send
    ) -> bool:
        """Whether a fault has already settled the request."""
        match fault:
            case Fault(kind="status"):
                await _fail(send, fault)
            case Fault(kind="drop"):
                self._unit.drop(scope["client"])
            case Fault(kind="hang"):
                await hang(fault.seconds, exchange.gone, self._unit.speed)
                return exchange.gone.is_set()
            case _:
                return False
        return True

    async def _deliver(self, exchange: Exchange, fault: Fault | None, send: Send) -> None:
        if fault is not None and exchange.request.stream:
            send = Tampered(send, fault, exchange.gone, self._unit.speed)
        elif fault is not None:
            await self._deliver_spoiled(exchange, fault, send)
            return
        if exchange.request.stream:
            await _stream(exchange, send)
            return
        body = await exchange.whole()
        if body is not None:
            await _reply(send, HTTPStatus.OK, body)

    async def _deliver_spoiled(self, exchange: Exchange, fault: Fault, send: Send) -> None:
        """A whole body that meets a fault made for streams gets what comes closest to it."""
        body = await exchange.whole()
        if body is None:
            return
        if fault.kind == "hang_mid":
            await hang(fault.seconds, exchange.gone, self._unit.speed)
        elif fault.kind in {"disconnect", "eof"}:
            await _start(send, HTTPStatus.OK, len(body))
            half = {"type": "http.response.body", "body": body[: len(body) // 2]}
            await send({**half, "more_body": True})
            return
        elif fault.kind == "malformed":
            body = body[: len(body) // 2]
        elif fault.kind == "error_event":
            raise RefusedError("EngineCore encountered an issue.", status=500)
        if not exchange.gone.is_set():
            await _reply(send, HTTPStatus.OK, body)

    def _health(self, _: bytes) -> tuple[int, bytes]:
        return (200 if self._unit.ready else 503), b""

    def _models(self, _: bytes) -> tuple[int, bytes]:
        rules = self._unit.rules
        card = {
            "id": rules.model,
            "object": "model",
            "created": self._unit.started_s,
            "owned_by": "vllm",
            "root": rules.model,
            "parent": None,
            "max_model_len": rules.max_model_len,
            "permission": [],
        }
        return _json({"object": "list", "data": [card]})

    def _tokenize(self, body: bytes) -> tuple[int, bytes]:
        fields = read_object(body)
        check_model(fields, self._unit.rules.model)
        ids = text.token_ids(_text_to_tokenize(fields))
        longest = self._unit.rules.max_model_len
        known = {"count": len(ids), "max_model_len": longest, "tokens": ids, "token_strs": None}
        return _json(known)

    def _detokenize(self, body: bytes) -> tuple[int, bytes]:
        ids = read_object(body).get("tokens")
        if not isinstance(ids, list) or not all(isinstance(one, int) for one in ids):
            raise RefusedError("tokens must be a list of integers", param="tokens")
        return _json({"prompt": text.text_of(ids)})

    def _show_faults(self, _: bytes) -> tuple[int, bytes]:
        return _json({"faults": self._unit.faults.rules})

    def _add_faults(self, body: bytes) -> tuple[int, bytes]:
        found = orjson.loads(body) if body[:1] == b"[" else [read_object(body)]
        for fault in list(map(read_fault, found)):
            self._unit.set_fault(fault)
        return self._show_faults(body)

    def _clear_faults(self, body: bytes) -> tuple[int, bytes]:
        self._unit.faults.rules.clear()
        return self._show_faults(body)


async def _read_body(receive: Receive) -> bytes | None:
    """None when the client left before it had sent everything."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _stream(exchange: Exchange, send: Send) -> None:
    try:
        await exchange.stream(send)
    except CutError as cut:
        if cut.clean:
            with suppress(CutError):
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _start(
    send: Send, status: int, length: int, kind: bytes = _JSON, *more: tuple[bytes, bytes]
) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % length), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _reply(send: Send, status: int, content: bytes, kind: bytes = _JSON) -> None:
    await _start(send, status, len(content), kind)
    message: Message = {"type": "http.response.body", "body": content, "more_body": False}
    await send(message)


async def _fail(send: Send, fault: Fault) -> None:
    content = orjson.dumps(error_body(f"injected fault {fault.kind}", fault.status))
    retry = [] if fault.retry_after_s is None else [(b"retry-after", b"%d" % fault.retry_after_s)]
    await _start(send, fault.status, len(content), _JSON, *retry)
    await send({"type": "http.response.body", "body": content, "more_body": False})


def _json(content: Any) -> tuple[int, bytes]:
    return 200, orjson.dumps(content)


def _no_route(known: bool) -> RefusedError:  # noqa: FBT001 - read at two places, both beside it
    status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
    return RefusedError(status.phrase, status=status)


def _text_to_tokenize(fields: dict[str, Any]) -> str:
    prompt = fields.get("prompt")
    if isinstance(prompt, str):
        return prompt
    messages = fields.get("messages")
    if isinstance(messages, list):
        return "\n".join(str(one.get("content", "")) for one in messages if isinstance(one, dict))
    raise RefusedError("prompt or messages is required", param="prompt")
