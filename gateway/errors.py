"""What the gateway refuses or fails with, in the shape of OpenAI's errors."""

import math
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Send

_CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a request that its own client gave up; the OpenAI SDK does not retry it."""


class ApiError(Exception):
    """An answer that is an error. `retry_after_s` becomes a header in whole seconds.

    `hopeless`: OpenAI's clients are told not to try again, where the status alone would let them.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
        *,
        hopeless: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = int(status)
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.hopeless = hopeless

    @property
    def type(self) -> str:
        if self.status == HTTPStatus.TOO_MANY_REQUESTS:
            return "rate_limit_error"
        if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "server_error"
        return "invalid_request_error"

    @property
    def body(self) -> bytes:
        return orjson.dumps(
            {
                "error": {
                    "message": self.message,
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )

    @property
    def event(self) -> bytes:
        """The error as an event of a stream that has begun."""
        return b"data: " + self.body + b"\n\n"

    def headers(self) -> list[tuple[bytes, bytes]]:
        body_bytes = str(len(self.body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", body_bytes)]
        if self.retry_after_s is not None:
            headers.append((b"retry-after", str(self.retry_after_s).encode()))
        if self.hopeless:
            headers.append((b"x-should-retry", b"false"))
        return headers

    def response(self) -> Response:
        response = Response(self.body, self.status)
        response.raw_headers = self.headers()
        return response


def malformed(message: str, param: str | None = None) -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, message, param=param)


def too_large(max_body_bytes: int) -> ApiError:
    message = f"The request body is longer than {max_body_bytes} bytes."
    return ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, "request_too_large")


def unsupported(message: str) -> ApiError:
    return ApiError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message, "unsupported_media_type")


def bad_http() -> ApiError:
    return ApiError(HTTPStatus.BAD_REQUEST, "The request is not valid HTTP/1.1.", "bad_http")


def head_too_large(max_head_bytes: int) -> ApiError:
    message = f"The request's line and headers are longer than {max_head_bytes} bytes."
    return ApiError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message, "headers_too_large")


def too_slow() -> ApiError:
    message = "The request was not complete in time."
    return ApiError(HTTPStatus.REQUEST_TIMEOUT, message, "request_timeout")


def too_many_connections() -> ApiError:
    message = "The gateway has as many connections as it may have."
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, message, "overloaded", retry_after_s=1)


def too_many_bodies() -> ApiError:
    message = "The gateway is receiving as many bytes as it may at a time."
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, message, "overloaded", retry_after_s=1)


def invalid_api_key() -> ApiError:
    message = "No API key was given, or it is nobody's. Send one as `Authorization: Bearer KEY`."
    return ApiError(HTTPStatus.UNAUTHORIZED, message, "invalid_api_key")


def host_not_allowed() -> ApiError:
    message = "Without API keys the gateway answers only under a name of its own machine."
    return ApiError(HTTPStatus.FORBIDDEN, message, "host_not_allowed")


def model_not_found(model: str) -> ApiError:
    message = f"The model `{model}` does not exist."
    return ApiError(HTTPStatus.NOT_FOUND, message, "model_not_found", "model")


def job_not_found(job: str) -> ApiError:
    return ApiError(HTTPStatus.NOT_FOUND, f"There is no job `{job}`.", "job_not_found", "id")


def queue_full(job_class: str, what: str, depth: int, retry_after_s: int) -> ApiError:
    message = f"The queue of {job_class} requests is full: {depth} are waiting."
    if what == "bytes":
        message = (
            "The queues are full: the bodies of the requests in them are as long as they may be."
        )
    return ApiError(
        HTTPStatus.TOO_MANY_REQUESTS, message, "queue_full", retry_after_s=retry_after_s
    )


def rate_limited(what: str, limit: int, tokens: int, wait_s: float | None) -> ApiError:
    """`what`: jobs, requests or tokens. `wait_s` is None when the request never fits."""
    status, code = HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_exceeded"
    if wait_s is None:
        message = f"The prompt has {tokens} tokens; the API key's limit is {limit} a minute."
        return ApiError(status, message, code, hopeless=True)
    known = {"jobs": "jobs at a time", "requests": "requests a minute"}
    message = f"The API key's limit of {limit} {known.get(what, 'prompt tokens a minute')} is used."
    return ApiError(status, message, code, retry_after_s=max(1, math.ceil(wait_s)))


def no_units(retry_after_s: int) -> ApiError:
    message = "No unit is alive to serve the request."
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE, message, "no_units", retry_after_s=retry_after_s
    )


def redis_unavailable(message: str = "The queue cannot be reached.") -> ApiError:
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, message, "redis_unavailable", retry_after_s=2)


def deadline_exceeded() -> ApiError:
    message = "The request's deadline passed before its answer was complete."
    return ApiError(HTTPStatus.GATEWAY_TIMEOUT, message, "deadline_exceeded")


def unit_failed(reason: str) -> ApiError:
    message = f"The unit failed: {reason or 'no reason given'}."
    return ApiError(HTTPStatus.BAD_GATEWAY, message, "unit_failed")


def cancelled(reason: str) -> ApiError:
    message = f"The request was cancelled: {reason or 'no reason given'}."
    return ApiError(_CLIENT_CLOSED_REQUEST, message, "cancelled")


def stopping() -> ApiError:
    message = "The gateway stops; ask again."
    return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, message, "stopping", retry_after_s=1)


async def send_error(send: Send, error: ApiError, headers: list[tuple[bytes, bytes]]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": error.headers() + headers,
        }
    )
    await send({"type": "http.response.body", "body": error.body})


async def crashed(_: Request, error: Any) -> Response:
    message = f"The gateway failed: {type(error).__name__}."
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, message, "internal_error").response()


def add_error_answers(app: FastAPI) -> None:
    """Give every error that the framework raises by itself the same shape."""

    async def refused(_: Request, error: Any) -> Response:
        return ApiError.response(error)

    async def http_error(_: Request, error: Any) -> Response:
        response = ApiError(error.status_code, str(error.detail)).response()
        extra = (error.headers or {}).items()
        response.raw_headers += [(name.lower().encode(), value.encode()) for name, value in extra]
        return response

    async def invalid(_: Request, error: Any) -> Response:
        first = error.errors()[0]
        return ApiError(
            HTTPStatus.UNPROCESSABLE_ENTITY, first["msg"], param=str(first["loc"][-1])
        ).response()

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, crashed)
