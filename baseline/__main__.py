"""`python -m baseline --short 2 --long 2`: one router over several units."""

import argparse
import sys

import uvloop
from pydantic import ValidationError

from baseline.policies import NAMES, policy_named
from baseline.service import serve
from baseline.settings import BaselineSettings
from common.server import PortTaken, listen, start_logging
from common.settings import first_mistake, shown

_UNITS = 4
_FIRST_PORT = 8001


def main() -> int:
    options = _parser().parse_args()
    given = {"host": options.host, "port": options.port}
    try:
        settings = BaselineSettings(**{key: one for key, one in given.items() if one is not None})
        urls = _urls(options, settings.units)
        short = _short(options, len(urls))
        policy = policy_named(options.policy, tuple(urls), short)
    except ValidationError as error:
        return _fail(2, first_mistake(error))
    except ValueError as error:
        return _fail(2, str(error))
    start_logging(settings.log_level, shown(settings))
    try:
        listener = listen(settings.host, settings.port)
    except PortTaken as error:
        return _fail(1, str(error))
    uvloop.run(serve(settings, policy, urls, listener))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m baseline", description=__doc__)
    parser.add_argument("--policy", choices=NAMES, default="static", help="where jobs go (static)")
    parser.add_argument("--short", type=int, help="units that serve short jobs, when static")
    parser.add_argument("--long", type=int, help="units that serve long jobs, when static")
    parser.add_argument(
        "--unit", action="append", metavar="URL", help="a unit's base URL; may be repeated"
    )
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (8000)")
    return parser


def _urls(options: argparse.Namespace, setting: str) -> dict[str, str]:
    """Every unit's name and URL: as given, as set, else those of `adasplit up`."""
    pairs = [pair.partition("=") for pair in setting.split(",") if pair]
    if options.unit:
        pairs = [(f"unit-{place}", "=", url) for place, url in enumerate(options.unit, start=1)]
    elif not pairs:
        count = (options.short or 0) + (options.long or 0) or _UNITS
        ports = range(_FIRST_PORT, _FIRST_PORT + count)
        pairs = [
            (f"unit-{place}", "=", f"http://127.0.0.1:{port}")
            for place, port in enumerate(ports, start=1)
        ]
    urls = {name: url.rstrip("/").removesuffix("/v1") for name, _, url in pairs}
    for name, url in urls.items():
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{name}={url} is no unit: its URL is http:// or https://")
    return urls


def _short(options: argparse.Namespace, units: int) -> int | None:
    """How many units are Short; None when it was not said."""
    short, long = options.short, options.long
    if short is None:
        return None if long is None else units - long
    if long is not None and short + long != units:
        raise ValueError(f"{short} Short and {long} Long units are not the {units} that there are")
    return int(short)


def _fail(code: int, message: str) -> int:
    print(f"baseline: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
