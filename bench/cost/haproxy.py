"""HAProxy in front of the units, in one hop and in two.

`haproxy-chain` is no router that anybody would run: one process for all clients and one for each
unit, as AdaSplit has a gateway and dispatchers. It shows what two hops cost that do nothing else.
Run as a program, this is the chain.
"""

import argparse
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# Without http-no-delay tokens wait in the kernel for more to fill a segment.
_CONFIG = """\
defaults
    mode http
    option http-no-delay
    timeout connect 3s
    timeout client 10m
    timeout server 10m

frontend front
    bind 127.0.0.1:{port}
    default_backend units

backend units
    balance leastconn
    option httpchk GET /health
{servers}"""


def haproxy_binary() -> str | None:
    """Where HAProxy is, if it is installed."""
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")


def haproxy_command(binary: str, folder: Path, port: int, urls: Mapping[str, str]) -> list[str]:
    """The command of one HAProxy on a port; its configuration is written to the folder."""
    servers = "".join(
        f"    server {name} {url.removeprefix('http://')} check\n" for name, url in urls.items()
    )
    config = folder / f"haproxy-{port}.cfg"
    config.write_text(_CONFIG.format(port=port, servers=servers), encoding="utf-8")
    return [binary, "-db", "-f", str(config)]


def _chain(binary: str, folder: Path, port: int, urls: Sequence[str]) -> list[list[str]]:
    """One for each unit, on the ports behind the first, and before them one for clients."""
    inner = range(port + 1, port + 1 + len(urls))
    commands = [
        haproxy_command(binary, folder, at, {"unit": url})
        for at, url in zip(inner, urls, strict=True)
    ]
    front = {f"unit-{at}": f"http://127.0.0.1:{at}" for at in inner}
    return [*commands, haproxy_command(binary, folder, port, front)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--unit", action="append", required=True)
    given = parser.parse_args()
    stop = signal.SIGTERM
    signal.pthread_sigmask(signal.SIG_BLOCK, {stop})

    def heed() -> None:
        # What starts inherits what is blocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {stop})

    commands = _chain(given.binary, given.folder, given.port, given.unit)
    started = [subprocess.Popen(command, preexec_fn=heed) for command in commands]  # noqa: S603, PLW1509  # ours, and no threads
    signal.sigwait({stop})
    for one in started:
        one.terminate()
    for one in started:
        one.wait()


if __name__ == "__main__":
    main()
