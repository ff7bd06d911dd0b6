"""The gateway's HTTP application."""

import asyncio
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route as HttpRoute
from starlette.types import ASGIApp

from common.connection import RedisUnavailable
from common.state import state_of
from common.views import Views
from gateway.docs_page import docs_page
from gateway.errors import add_error_answers, redis_unavailable
from gateway.jobs import Jobs
from gateway.keys import OWNER
from gateway.metrics import Metrics
from gateway.openapi import document
from gateway.settings import GatewaySettings
from gateway.watcher import Watcher

_READS_AT_A_TIME = 16
"""Reads of Redis under way for people's pages: requests come first."""


def create_app(
    settings: GatewaySettings,
    completions: Mapping[str, ASGIApp],
    metrics: Metrics,
    watcher: Watcher,
    views: Views,
    jobs: Jobs,
    ready: Callable[[], bool],
) -> FastAPI:
    # FastAPI's own pages would leave out the two routes that matter, and load scripts from afar.
    app = FastAPI(
        title="AdaSplit", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.router.routes += [
        HttpRoute(route, endpoint, methods=["POST"]) for route, endpoint in completions.items()
    ]
    _add_pool_pages(app, settings, watcher, views)
    _add_job_pages(app, jobs)
    _add_admin_pages(app, metrics, ready)
    _add_docs(app, settings)
    add_error_answers(app)
    return app


def _add_docs(app: FastAPI, settings: GatewaySettings) -> None:
    described = document(settings)
    as_json, as_html = orjson.dumps(described), docs_page(described)

    async def openapi() -> Response:
        return Response(as_json, media_type="application/json")

    async def docs() -> Response:
        return HTMLResponse(as_html)

    app.add_api_route("/openapi.json", openapi)
    app.add_api_route("/docs", docs)


def _json(content: Any, status: int = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _add_pool_pages(
    app: FastAPI, settings: GatewaySettings, watcher: Watcher, views: Views
) -> None:
    turn = asyncio.Semaphore(_READS_AT_A_TIME)
    started_s = int(time.time())

    async def models() -> Response:
        if watcher.view is None:
            raise redis_unavailable()
        listed = [
            {"id": model, "object": "model", "created": started_s, "owned_by": "adasplit"}
            for model in watcher.models
        ]
        return _json({"object": "list", "data": listed})

    async def state() -> Response:
        async with turn:
            try:
                view = await views.pool()
            except RedisUnavailable as outage:
                raise redis_unavailable() from outage
        policy = settings.under(view.overrides)
        return _json(state_of(settings.pool, view, policy))

    app.add_api_route("/v1/models", models)
    app.add_api_route("/v1/state", state)


def _add_job_pages(app: FastAPI, jobs: Jobs) -> None:
    turn = asyncio.Semaphore(_READS_AT_A_TIME)

    async def tell(job: str, request: Request) -> Response:
        async with turn:
            try:
                return _json(await jobs.tell(job, request.scope.get(OWNER, "")))
            except RedisUnavailable as outage:
                raise redis_unavailable() from outage

    async def cancel(job: str, request: Request) -> Response:
        async with turn:
            try:
                return _json(await jobs.cancel(job, request.scope.get(OWNER, "")))
            except RedisUnavailable as outage:
                raise redis_unavailable() from outage

    app.add_api_route("/v1/jobs/{job}", tell)
    app.add_api_route("/v1/jobs/{job}", cancel, methods=["DELETE"])


def _add_admin_pages(app: FastAPI, counted: Metrics, ready: Callable[[], bool]) -> None:
    async def healthz() -> Response:
        return _json({"status": "ok"})

    async def readyz() -> Response:
        if ready():
            return _json({"status": "ready"})
        return _json({"status": "not ready"}, HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics() -> Response:
        return Response(counted.page(), media_type=CONTENT_TYPE_LATEST)

    app.add_api_route("/healthz", healthz)
    app.add_api_route("/readyz", readyz)
    app.add_api_route("/metrics", metrics)
