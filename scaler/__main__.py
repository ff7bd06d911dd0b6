"""`python -m scaler`: one scaler, which leads or stands by."""

import argparse
import os
import secrets
import socket
import sys

import uvloop
from pydantic import ValidationError

from common.connection import BadRedisUrl
from common.metrics import start_metrics
from common.server import PortTaken, listen, start_logging
from common.settings import first_mistake, shown
from common.version import OldRedis
from scaler.service import serve
from scaler.settings import ScalerSettings

_BAD_SETTINGS = 2
_CANNOT_START = 1


def main() -> int:
    arguments = _parser().parse_args()
    try:
        settings = ScalerSettings()
    except ValidationError as error:
        return _fail(_BAD_SETTINGS, first_mistake(error))
    start_logging(settings.log_level, shown(settings))
    start_metrics("scaler")
    try:
        listener = listen(arguments.host, arguments.port)
        uvloop.run(serve(settings, listener, _name()))
    except BadRedisUrl as error:
        return _fail(_BAD_SETTINGS, str(error))
    except (PortTaken, OldRedis) as error:
        return _fail(_CANNOT_START, str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scaler", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where the admin pages listen")
    parser.add_argument("--port", type=int, default=9100, help="port of the admin pages")
    return parser


def _name() -> str:
    # Host and process are for people; in containers they can be the same twice.
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def _fail(code: int, message: str) -> int:
    print(f"scaler: {message}", file=sys.stderr)  # the one line a user sees
    return code


if __name__ == "__main__":
    sys.exit(main())
