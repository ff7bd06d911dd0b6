"""`python -m simulator`: one simulated unit."""

import sys

import uvloop

from simulator.serve import Listener, serve
from simulator.settings import SettingsError, read_settings


def main() -> int:
    try:
        settings = read_settings(sys.argv[1:])
    except SettingsError as error:
        return _fail(str(error))
    try:
        listener = Listener(settings.host, settings.port)
    except OSError as error:
        return _fail(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}")
    uvloop.run(serve(settings, listener))
    return 0


def _fail(message: str) -> int:
    print(f"simulator: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
