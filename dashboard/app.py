"""The dashboard's HTTP application: the page, what it asks for, and the pages of every process."""

import hashlib
import mimetypes
from collections.abc import Sequence
from importlib import resources

from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from common.server import admin_app
from dashboard.history import History
from dashboard.live import Live

_WORTH_PACKING_BYTES = 4096


def create_app(history: History, live: Live, more: Sequence[BaseRoute] = ()) -> Starlette:
    """`more` are routes beside the page, such as rq-dashboard's."""

    async def state(request: Request) -> Response:
        query = request.query_params
        after = query.get("after", "")
        content = live.page(query.get("boot", ""), int(after) if after.isdecimal() else 0)
        headers = {"Cache-Control": "no-store"}
        return Response(content, media_type="application/json", headers=headers)

    routes: list[BaseRoute] = [Route("/live.json", state), *_page_routes(), *more]
    app = Starlette(routes=[*routes, *admin_app(lambda: history.ready).routes])
    app.add_middleware(GZipMiddleware, minimum_size=_WORTH_PACKING_BYTES, compresslevel=3)
    return app


def _page_routes() -> list[BaseRoute]:
    files = [item for item in resources.files("dashboard.page").iterdir() if item.is_file()]
    shown = {item.name: item.read_bytes() for item in files if not item.name.endswith(".py")}
    return [
        _file(f"/page/{name}" if name != "index.html" else "/", name, content)
        for name, content in sorted(shown.items())
    ]


def _file(path: str, name: str, content: bytes) -> Route:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    # Asked for again each time, and sent only when it has changed: an upgrade shows at once.
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"Cache-Control": "no-cache", "ETag": tag}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return Route(path, answer)
