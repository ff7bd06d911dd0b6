"""`python -m gateway`: one gateway."""

import argparse
import sys

import uvloop
from pydantic import ValidationError

from common.connection import BadRedisUrl
from common.memory import give_back_large_pieces
from common.metrics import start_metrics
from common.server import PortTaken, listen, start_logging
from common.settings import first_mistake, shown
from common.traced import NoTracing
from common.version import OldRedis
from gateway.service import serve
from gateway.settings import GatewaySettings
from gateway.tokens import BadTokenizer, load_tokenizer

_BAD_SETTINGS = 2
_CANNOT_START = 1


def main() -> int:
    given = {name: value for name, value in vars(_parser().parse_args()).items() if value}
    shared = given.pop("share_port", False)
    try:
        settings = GatewaySettings(**given)
    except ValidationError as error:
        return _fail(_BAD_SETTINGS, first_mistake(error))
    start_logging(settings.log_level, shown(settings))
    start_metrics("gateway")
    give_back_large_pieces()
    try:
        tokenizer = load_tokenizer(settings.tokenizer) if settings.tokenizer else None
        listener = listen(settings.host, settings.port, shared=shared)
        uvloop.run(serve(settings, listener, tokenizer))
    except BadRedisUrl as error:
        return _fail(_BAD_SETTINGS, str(error))
    except (PortTaken, BadTokenizer, NoTracing, OldRedis) as error:
        return _fail(_CANNOT_START, str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (8000)")
    parser.add_argument(
        "--share-port", action="store_true", help="let several gateways listen on the same port"
    )
    return parser


def _fail(code: int, message: str) -> int:
    print(f"gateway: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
