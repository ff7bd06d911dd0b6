"""The two routes that make jobs, as raw ASGI: no framework between the bytes and the queue."""

import time

from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.admission import Admission, ClientLeft
from gateway.answers import Answers
from gateway.errors import ApiError, crashed, send_error
from gateway.protocol import CHUNKS
from gateway.requests import Route

_ROUTES: tuple[Route, ...] = ("/v1/chat/completions", "/v1/completions")


class Completions:
    """One of the two routes."""

    def __init__(self, route: Route, admission: Admission, answers: Answers) -> None:
        self._route = route
        self._admission = admission
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = time.monotonic()
        try:
            admitted = await self._admission.admit(self._route, scope, receive)
        except ApiError as error:
            self._answers.metrics.failed(None, error)
            await send_error(send, error, [])
        except ClientLeft:
            return
        else:
            await self._answers.give(admitted, receive, send, started_s, scope.get(CHUNKS))


def completion_routes(admission: Admission, answers: Answers) -> dict[str, ASGIApp]:
    """The routes by their paths; a mistake of ours in them is answered as everywhere else."""
    return {
        route: ServerErrorMiddleware(Completions(route, admission, answers), handler=crashed)
        for route in _ROUTES
    }
