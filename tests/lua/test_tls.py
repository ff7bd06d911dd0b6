"""Redis over TLS, alone, behind sentinels and as a cluster: a job goes from submit to outcome."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.connection import Connection, RedisUnavailable
from tests.conftest import BINARIES, free_ports
from tests.e2e.redis_sets import PASSWORD, QUOTED, SERVICE, Node, wait_for
from tests.lua.conftest import new_pool

pytestmark = pytest.mark.skipif(
    "redis" not in BINARIES or not shutil.which("openssl"),
    reason="needs Debian's redis-server, which speaks TLS, and openssl",
)

Start = Callable[..., Node]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself; its key lies beside it."""
    made = tmp_path_factory.mktemp("tls") / "server.pem"
    words = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    files = ["-keyout", str(made.with_suffix(".key")), "-out", str(made)]
    subprocess.run([*words.split(), *files], check=True, capture_output=True)
    return made


@pytest.fixture
def start(certificate: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a server, or a sentinel, that speaks nothing but TLS."""
    nodes: list[Node] = []

    def started(*, sentinel: bool = False, **options: object) -> Node:
        (port,) = free_ports(1)
        given: dict[str, object] = {
            "port": 0, "tls-cert-file": certificate, "tls-ca-cert-file": certificate,
            "tls-key-file": certificate.with_suffix(".key"), "tls-auth-clients": "no",
            "tls-replication": "yes",
        }  # fmt: skip
        given |= {name.replace("_", "-"): value for name, value in options.items()}
        nodes.append(Node(tmp_path, port, given, sentinel, certificate))
        nodes[-1].start()
        return nodes[-1]

    yield started
    for node in nodes:
        node.kill()


async def a_job_runs(url: str) -> None:
    async with contextlib.aclosing(Connection.from_url(url)) as connection:
        pool = await new_pool(connection)
        await pool.unit("a")
        job = await pool.one("a")
        assert await pool.finish("a", job) == ["OK"]
        assert (await pool.job(job.id))["outcome"] == "ok"


def server(start: Start, **options: object) -> Node:
    return start(requirepass=PASSWORD, save='""', **options)


async def test_one_server(start: Start, certificate: Path) -> None:
    where = f"127.0.0.1:{server(start).port}"
    await a_job_runs(f"rediss://:{QUOTED}@{where}/0?ssl_ca_certs={certificate}")
    async with contextlib.aclosing(Connection.from_url(f"rediss://{where}/0")) as stranger:
        with pytest.raises(RedisUnavailable, match="certificate verify failed"):
            await stranger.command("PING")


async def test_a_cluster(start: Start, certificate: Path) -> None:
    (bus_port,) = free_ports(1)
    node = server(start, cluster_enabled="yes", cluster_port=bus_port, tls_cluster="yes")
    node.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    wait_for(lambda: b"cluster_state:ok" in bytes(node.ask("CLUSTER", "INFO")), "a cluster")
    where = f"127.0.0.1:{node.port}?ssl_ca_certs={certificate}"
    await a_job_runs(f"rediss+cluster://:{QUOTED}@{where}")


async def test_a_sentinel(start: Start, certificate: Path) -> None:
    master = server(start)
    watch = {f"sentinel monitor {SERVICE}": f"127.0.0.1 {master.port} 1"}
    watch[f"sentinel auth-pass {SERVICE}"] = PASSWORD
    sentinel = start(sentinel=True, **watch)
    query = f"ssl_ca_certs={certificate}"
    await a_job_runs(f"rediss+sentinel://:{QUOTED}@127.0.0.1:{sentinel.port}/{SERVICE}/0?{query}")
