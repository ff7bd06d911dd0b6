"""Refusals in the shape that vLLM gives them."""

from http import HTTPStatus
from typing import Any

_TYPES = {
    HTTPStatus.BAD_REQUEST: "BadRequestError",
    HTTPStatus.NOT_FOUND: "NotFoundError",
    HTTPStatus.METHOD_NOT_ALLOWED: "MethodNotAllowedError",
    HTTPStatus.TOO_MANY_REQUESTS: "RateLimitError",
    HTTPStatus.INTERNAL_SERVER_ERROR: "InternalServerError",
    HTTPStatus.SERVICE_UNAVAILABLE: "ServiceUnavailableError",
}


class RefusedError(Exception):
    """A request that gets an error instead of an answer."""

    def __init__(
        self,
        message: str,
        *,
        status: int = HTTPStatus.BAD_REQUEST,
        param: str | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = int(status)
        self.param = param
        self.kind = kind or error_type(self.status)

    @property
    def body(self) -> dict[str, Any]:
        return error_body(str(self), self.status, param=self.param, kind=self.kind)


def error_type(status: int) -> str:
    if status in set(HTTPStatus):
        known = HTTPStatus(status)
        return _TYPES.get(known, known.phrase)
    return "APIError"


def error_body(
    message: str, status: int, *, param: str | None = None, kind: str | None = None
) -> dict[str, Any]:
    return {
        "error": {
            "message": message,
            "type": kind or error_type(status),
            "param": param,
            "code": status,
        }
    }


def malformed(message: str, param: str | None = None) -> RefusedError:
    """What FastAPI's validation refuses before vLLM sees it."""
    return RefusedError(message, param=param, kind="Bad Request")
