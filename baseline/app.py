"""The HTTP application of a baseline: the gateway's paths, as far as clients use them."""

import asyncio
from http import HTTPStatus
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from baseline.completions import Completions
from baseline.errors import Refused
from baseline.metrics import Metrics
from baseline.pool import Policy
from baseline.relay import Units
from baseline.turns import Turns
from common.keys import CLASSES


class Pages:
    """Everything but the completions."""

    def __init__(self, policy: Policy, turns: Turns, units: Units, metrics: Metrics) -> None:
        self._policy = policy
        self._turns = turns
        self._units = units
        self._metrics = metrics

    async def healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        pages = await asyncio.gather(
            *(self._units.get(unit, "/health") for unit in self._units.urls)
        )
        if all(page is not None for page in pages):
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, status_code=503)

    async def metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def models(self, _: Request) -> Response:
        """The union over the units that answer, each model once."""
        pages = await asyncio.gather(
            *(self._units.get(unit, "/v1/models") for unit in self._units.urls)
        )
        found = [model for page in pages if page for model in orjson.loads(page).get("data", [])]
        every = {model["id"]: model for model in reversed(found)}
        return JSONResponse({"object": "list", "data": list(reversed(every.values()))})

    async def state(self, _: Request) -> Response:
        queues, oldest_s = self._turns.queues, self._turns.oldest_s()
        units: dict[str, Any] = {
            unit.name: {
                "role": self._policy.role_of(unit.name),
                "alive": True,
                "active": {"short": unit.short, "long": unit.long},
                "limits": self._limits(unit.limit_short, unit.limit_long),
                "url": self._units.urls[unit.name],
            }
            for unit in queues.units
        }
        waiting = {
            name: {"depth": queues.depth(name), "oldest_s": oldest_s[name]} for name in CLASSES
        }
        return JSONResponse({"pool": "baseline", "units": units, "queues": waiting})

    def _limits(self, short: int, long: int) -> dict[str, int | None]:
        if self._policy.keeps_slots:
            return {"short": short, "long": long}
        return {"short": None, "long": None}


def create_app(completions: Completions, pages: Pages) -> Starlette:
    return Starlette(
        routes=[
            Route("/v1/chat/completions", completions, methods=["POST"]),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/models", pages.models),
            Route("/v1/state", pages.state),
            Route("/healthz", pages.healthz),
            Route("/readyz", pages.readyz),
            Route("/metrics", pages.metrics),
        ],
        exception_handlers={HTTPException: _as_openai},
    )


async def _as_openai(_: Request, error: Exception) -> Response:
    status = int(getattr(error, "status_code", HTTPStatus.INTERNAL_SERVER_ERROR))
    refusal = Refused(status, HTTPStatus(status).phrase)
    return Response(refusal.body, status, media_type="application/json")
