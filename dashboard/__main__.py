"""`python -m dashboard`: one dashboard; any number may run."""

import argparse
import sys

import uvloop
from pydantic import ValidationError

from common.connection import BadRedisUrl
from common.metrics import start_metrics
from common.server import PortTaken, listen, start_logging
from common.settings import first_mistake, shown
from common.version import OldRedis
from dashboard.service import serve
from dashboard.settings import DashboardSettings

_BAD_SETTINGS = 2
_CANNOT_START = 1


def main() -> int:
    arguments = _parser().parse_args()
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    try:
        settings = DashboardSettings(
            **{f"dashboard_{name}": value for name, value in given.items()}
        )
    except ValidationError as error:
        return _fail(_BAD_SETTINGS, first_mistake(error))
    start_logging(settings.log_level, shown(settings))
    start_metrics("dashboard")
    try:
        listener = listen(settings.dashboard_host, settings.dashboard_port)
        uvloop.run(serve(settings, listener))
    except BadRedisUrl as error:
        return _fail(_BAD_SETTINGS, str(error))
    except (OldRedis, PortTaken) as error:
        return _fail(_CANNOT_START, str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dashboard", description=__doc__)
    parser.add_argument("--host", help="where it listens; else ADASPLIT_DASHBOARD_HOST, loopback")
    parser.add_argument("--port", help="its port; else ADASPLIT_DASHBOARD_PORT, 8080")
    return parser


def _fail(code: int, message: str) -> int:
    print(f"dashboard: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
