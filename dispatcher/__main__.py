"""Starts a dispatcher: `python -m dispatcher --unit unit-1 --url http://127.0.0.1:8001`."""

import argparse
import asyncio
import sys

import uvloop
from pydantic import ValidationError

from common.connection import BadRedisUrl, Connection
from common.memory import give_back_large_pieces, settle
from common.metrics import start_metrics
from common.server import PortTaken, listen, start_logging, stop_on_signals
from common.settings import first_mistake, shown
from common.traced import NoTracing, start_tracing
from common.version import OldRedis, check_version
from dispatcher.service import Service
from dispatcher.settings import DispatcherSettings


def main() -> int:
    options = _options()
    given = {"unit": options.unit, "unit_url": options.url}
    try:
        settings = DispatcherSettings(**{key: val for key, val in given.items() if val is not None})
        start_logging(settings.log_level, shown(settings))
        start_metrics("dispatcher")
        give_back_large_pieces()
        connection = Connection.from_url(settings.redis_url, settings.redis_timeout_s)
        tracing = start_tracing(settings, "dispatcher", unit=settings.unit)
        listener = listen(options.host, options.port)
    except ValidationError as error:
        print(f"dispatcher: {first_mistake(error)}", file=sys.stderr)
        return 2
    except (BadRedisUrl, PortTaken, NoTracing) as error:
        print(f"dispatcher: {error}", file=sys.stderr)
        return 1

    async def run() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await check_version(connection)
        service = Service(settings, connection, tracing=tracing)
        settle()
        await service.run(stop, listener)
        await connection.aclose()
        if tracing:
            await asyncio.to_thread(tracing.close)

    try:
        uvloop.run(run())
    except OldRedis as error:
        print(f"dispatcher: {error}", file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dispatcher", description=__doc__)
    parser.add_argument("--unit", help="name of the unit (ADASPLIT_UNIT)")
    parser.add_argument("--url", help="base URL of the unit (ADASPLIT_UNIT_URL)")
    parser.add_argument("--host", default="127.0.0.1", help="address of /healthz and /metrics")
    parser.add_argument("--port", type=int, default=9101, help="port of /healthz and /metrics")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
