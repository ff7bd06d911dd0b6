"""Ray Serve in front of units: run by the Python of its own environment, and knows nothing of ours.

Ray Serve has no router for servers that run already; its docs build one as a deployment like this.
"""

import argparse
import itertools
import signal
import tempfile
from collections.abc import AsyncIterator

import aiohttp
import psutil
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

_OPEN_REQUESTS = 1000


class Front:
    """Passes requests to the units in turn, and answers on as they come."""

    def __init__(self, units: list[str]) -> None:
        self._units = itertools.cycle(units)
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, request: Request) -> Response:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        answer = await self._session.post(
            next(self._units) + request.url.path,
            data=await request.body(),
            headers={"content-type": "application/json"},
        )
        if answer.content_type == "text/event-stream":
            return StreamingResponse(_pieces(answer), media_type="text/event-stream")
        async with answer:
            body = await answer.read()
        return Response(body, status_code=answer.status, media_type=answer.content_type)


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--unit", action="append", required=True)
    given = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # The paths of its sockets are long by themselves: the folder's may not be.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ray.init(include_dashboard=False, _temp_dir=folder)
        serve.start(http_options={"host": given.host, "port": given.port})
        front = serve.deployment(
            max_ongoing_requests=_OPEN_REQUESTS, logging_config={"enable_access_log": False}
        )(Front)
        serve.run(front.bind(given.unit), name="front", route_prefix="/")
        signal.sigwait({signal.SIGTERM})
        started = psutil.Process().children(recursive=True)
        ray.shutdown()
        # Its HAProxy outlives it; Serve's own shutdown would wait for half a minute, and give up.
        for left in psutil.wait_procs(started, timeout=5)[1]:
            left.kill()


if __name__ == "__main__":
    main()
