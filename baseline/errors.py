"""What a baseline answers when it has no answer of a unit, in the shape of OpenAI's errors."""

from http import HTTPStatus

import orjson


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = int(status)
        self.code = code

    @property
    def body(self) -> bytes:
        error = {"message": str(self), "type": self._type, "param": None, "code": self.code}
        return orjson.dumps({"error": error})

    @property
    def _type(self) -> str:
        if self.status == HTTPStatus.TOO_MANY_REQUESTS:
            return "rate_limit_error"
        if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "server_error"
        return "invalid_request_error"


def unit_failed(why: str) -> Refused:
    return Refused(HTTPStatus.BAD_GATEWAY, f"The unit failed: {why}.", "unit_failed")
