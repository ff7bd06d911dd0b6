"""rq-dashboard under `/rq/`, on RQ's keys as they are now; its buttons act in AdaSplit."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from a2wsgi import WSGIMiddleware
from flask import Flask
from rq.exceptions import NoSuchJobError
from rq_dashboard.web import blueprint, setup_rq_connection
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from common.connection import RedisUnavailable
from dashboard.presses import Presses
from dashboard.projector import Projector

_POLL_MS = 1000
_THREADS = 4


def rq_routes(projector: Projector, presses: Presses, store_url: str) -> list[BaseRoute]:
    """Everything under `/rq/`. Only the presses below change anything; all else is read."""

    def press(path: str, act: Callable[[Request], Awaitable[dict[str, Any]]]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                said = await act(request)
                await projector.refresh(now=True)
            except RedisUnavailable:
                return _away()
            failed = said["status"] == "ERROR"
            return JSONResponse(said, HTTPStatus.CONFLICT if failed else HTTPStatus.OK)

        return Route(f"/rq{path}", endpoint, methods=["POST"])

    async def delete(request: Request) -> dict[str, Any]:
        return {"status": await presses.delete(request.path_params["job"])}

    async def requeue(request: Request) -> dict[str, Any]:
        return {"status": await presses.requeue(request.path_params["job"])}

    async def requeue_all(request: Request) -> dict[str, Any]:
        count = await presses.requeue_all(request.path_params["queue"])
        return {"status": "OK", "count": count}

    async def empty(request: Request) -> dict[str, Any]:
        where = request.path_params["queue"], request.path_params["registry"]
        return {"status": await presses.empty(*where)}

    async def compact(_: Request) -> dict[str, Any]:
        return {"status": "OK"}  # there is nothing dead in a queue that is drawn anew

    # Flask, a2wsgi and Starlette describe the same protocols in types of their own.
    flask: Any = _flask_app(store_url)
    wsgi: Any = WSGIMiddleware(flask, workers=_THREADS)
    pages = _Fresh(wsgi, projector)
    return [
        press("/job/{job}/delete", delete),
        press("/job/{job}/requeue", requeue),
        press("/requeue/{queue}", requeue_all),
        press("/queue/{queue}/{registry}/empty", empty),
        press("/queue/{queue}/compact", compact),
        Mount("/rq", app=pages),
    ]


class _Fresh:
    """Lets reads through to rq-dashboard, once RQ's keys are as the pool is."""

    def __init__(self, app: ASGIApp, projector: Projector) -> None:
        self._app = app
        self._projector = projector

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"} or "/requeue/" in scope["path"]:
            answer: ASGIApp = PlainTextResponse("", HTTPStatus.METHOD_NOT_ALLOWED)
        elif "/static/" in scope["path"]:
            answer = self._app
        else:
            try:
                await self._projector.refresh()
                answer = self._app
            except RedisUnavailable:
                answer = _away()
        await answer(scope, receive, send)


def _away() -> Response:
    return PlainTextResponse("Redis is away", HTTPStatus.SERVICE_UNAVAILABLE)


def _flask_app(store_url: str) -> Flask:
    app = Flask("rq_dashboard")
    app.config["RQ_DASHBOARD_REDIS_URL"] = store_url
    app.config["RQ_DASHBOARD_POLL_INTERVAL"] = _POLL_MS
    app.register_blueprint(blueprint)
    app.register_error_handler(NoSuchJobError, lambda _: ("there is no such job here", 404))
    setup_rq_connection(app)
    return app
