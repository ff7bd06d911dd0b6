"""Requests nobody would write: from the OpenAPI schema, valid and not, and bytes gone wrong."""

import json
import random
import socket
from contextlib import closing
from typing import Any

import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.openapi import document
from gateway.settings import GatewaySettings

MODEL = "simulated-llama-3-70b"
KEY = "key-of-fuzz"
LIMITS = {
    "api_keys": f"fuzz:{KEY}",
    "max_output_tokens": "48",
    "max_n": "3",
    "max_best_of": "3",
    "max_prompts": "6",
    "max_body_bytes": "400000",
    "head_timeout_s": "1",
    "body_timeout_s": "1",
    "keep_alive_s": "1",
}
"""Answers are to be short, and a connection that waits for more is to end soon."""

_CHECKS = (content_type_conformance, response_schema_conformance, status_code_conformance)
_TIMEOUT_S = 60.0
_SHORT_DEADLINE_S = 30.0


class Fault(AssertionError):
    """The gateway did what it must not do; says which request made it."""


def schema(modes: list[GenerationMode]) -> Any:
    """The gateway's own document, with a model that there is, and one that there is not."""
    limits: dict[str, Any] = LIMITS
    described = document(GatewaySettings(**limits, _env_file=None))
    for name in ("ChatRequest", "CompletionRequest"):
        properties = described["components"]["schemas"][name]["properties"]
        properties["model"] = {"type": "string", "enum": [MODEL, "other"]}
        # With it an answer goes on to the end of the unit's context, for minutes.
        del properties["ignore_eos"]
    loaded = schemathesis.openapi.from_dict(described)
    loaded.config.generation.update(modes=modes)
    return loaded


def ask(case: Any, url: str) -> int:
    """Send a case and judge the answer; its status. Raises Fault."""
    try:
        answer = case.call(
            base_url=url, headers={"authorization": f"Bearer {KEY}"}, timeout=_TIMEOUT_S
        )
    except Exception as error:
        raise Fault(f"no answer: {error!r} to {case.as_curl_command()}") from error
    status: int = answer.status_code
    if status >= 500 and not _asked_for_it(case, status):
        raise Fault(f"{status} {answer.content[:300]!r} to {case.as_curl_command()[:2000]}")
    try:
        case.validate_response(answer, checks=list(_CHECKS))
    except (AssertionError, FailureGroup) as error:
        raise Fault(f"not as described: {error} {getattr(error, 'exceptions', '')}") from error
    return status


def _asked_for_it(case: Any, status: int) -> bool:
    """A deadline that nobody could keep is the client's own."""
    try:
        deadline_s = float((case.headers or {}).get("x-adasplit-timeout-s", "inf"))
    except ValueError:
        return False
    return status == 504 and deadline_s < _SHORT_DEADLINE_S


def broken_bytes(chance: random.Random) -> bytes:
    """A good request, then up to six accidents."""
    message = {"role": "user", "content": "x" * chance.randrange(200)}
    body = json.dumps({"model": MODEL, "messages": [message], "max_tokens": 3}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        f"connection: close\r\n\r\n"
    )
    sent = bytearray(head.encode() + body)
    for _ in range(chance.randrange(7)):
        at = chance.randrange(len(sent) or 1)
        accident = chance.randrange(5)
        if accident == 0:
            sent[at : at + 1] = bytes([chance.randrange(256)])
        elif accident == 1:
            del sent[at : at + chance.randrange(40)]
        elif accident == 2:
            sent[at:at] = sent[chance.randrange(len(sent) or 1) :][: chance.randrange(80)]
        elif accident == 3:
            sent[at:at] = chance.choice(_WORDS)
        else:
            del sent[at:]
    return bytes(sent)


_WORDS = (
    b"\r\n", b"\r\n\r\n", b"\0", b"transfer-encoding: chunked\r\n", b"0\r\n\r\n", b"{", b'"', b"[",
    b"\xff\xfe", b"\\ud800", b"1e999", b"expect: 100-continue\r\n", b"upgrade: h2c\r\n", b":",
)  # fmt: skip


def send_bytes(sent: bytes, port: int) -> int:
    """Send, read to the end; the first status, 0 for none. Raises Fault."""
    received = b""
    try:
        with closing(socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)) as connection:
            connection.sendall(sent)
            while piece := connection.recv(65536):
                received += piece
    except ConnectionError:
        pass
    except TimeoutError as error:
        raise Fault(f"no end of the connection to {sent!r}, said {received[:300]!r}") from error
    status = int(received[9:12] or 0)
    if status >= 500:
        raise Fault(f"{received[:300]!r} to {sent!r}")
    return status
