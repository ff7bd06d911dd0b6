"""TLS to Redis: the server's certificate is verified, ours is shown where one is asked for."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from common.connection import Connection, RedisUnavailable
from tests.cli.conftest import wait_for
from tests.conftest import BINARIES, DIES_WITH_ITS_PARENT, free_ports

GENEROUS_S = 30.0


def openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    assert program
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path) -> None:
    """An authority of the test's own, and a certificate for this machine."""
    new = ("-newkey", "rsa:2048", "-nodes")
    openssl(folder, "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    openssl(folder, "req", *new, "-keyout", "own.key", "-out", "own.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    authority = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    openssl(
        folder, "x509", "-req", "-in", "own.csr", *authority, "-extfile", "names", "-out", "own.pem"
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    if "redis" not in BINARIES or shutil.which("openssl") is None:
        pytest.skip("no redis-server with TLS, or no openssl; the embedded Valkey has no TLS")
    folder = tmp_path_factory.mktemp("tls")
    certificates(folder)
    (port,) = free_ports(1)
    flags = {
        "port": "0", "tls-port": str(port), "tls-cert-file": "own.pem", "tls-key-file": "own.key",
        "tls-ca-cert-file": "ca.pem", "save": "", "logfile": "server.log", "dir": str(folder),
    }  # fmt: skip
    command = [BINARIES["redis"], *[text for name in flags for text in (f"--{name}", flags[name])]]
    process = subprocess.Popen([sys.executable, "-c", DIES_WITH_ITS_PARENT, *command], cwd=folder)
    try:
        log = folder / "server.log"
        wait_for(lambda: log.exists() and "Ready to accept" in log.read_text(), GENEROUS_S, "TLS")
        yield port, folder
    finally:
        process.kill()
        process.wait()


async def test_a_server_that_is_known_is_spoken_to(server: tuple[int, Path]) -> None:
    port, folder = server
    files = "&".join(
        f"{name}={folder / file}"
        for name, file in (
            ("ssl_ca_certs", "ca.pem"),
            ("ssl_certfile", "own.pem"),
            ("ssl_keyfile", "own.key"),
        )
    )
    connection = Connection.from_url(f"rediss://localhost:{port}/0?{files}")
    async with aclosing(connection):
        assert await connection.command("PING")


@pytest.mark.parametrize(
    ("host", "query", "says"),
    [
        ("localhost", "", "certificate verify failed"),
        ("127.0.0.1", "ca", "certificate verify failed"),
        # The server hangs up, and says why only when there is time.
        ("localhost", "ca", "(?i)certificate required|reset|closed|pipe"),
    ],
)
async def test_who_is_unknown_or_has_another_name_is_not(
    server: tuple[int, Path], host: str, query: str, says: str
) -> None:
    """An unknown authority, another name than the certificate's, and none of our own."""
    port, folder = server
    given = f"?ssl_ca_certs={folder / 'ca.pem'}" if query else ""
    connection = Connection.from_url(f"rediss://{host}:{port}/0{given}")
    async with aclosing(connection):
        with pytest.raises(RedisUnavailable, match=says):
            await connection.command("PING")
