"""A Redis Cluster of three masters, and a master with replica and sentinels, as real processes."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from common.keys import Keys
from tests.conftest import BINARIES, DIES_WITH_ITS_PARENT, free_ports

BINARY = BINARIES.get("redis", BINARIES["valkey"])
PASSWORD = "p@ss:word/1"  # noqa: S105  # with all that a URL must quote
QUOTED = "p%40ss%3Aword%2F1"
SERVICE = "mymaster"
_WITHIN_S = 60.0
_SLOTS = 16384


def wait_for(fact: Callable[[], Any], what: str) -> Any:
    """What a fact answers once it answers something; while servers cannot be asked it does not."""
    end_s = time.monotonic() + _WITHIN_S
    while time.monotonic() < end_s:
        with contextlib.suppress(RedisError, OSError):
            found = fact()
            if found:
                return found
        time.sleep(0.05)  # between two looks
    raise TimeoutError(f"{what}: not within {_WITHIN_S} s")


@dataclass
class Node:
    """One server process, which can be killed and started again."""

    folder: Path
    port: int
    options: dict[str, object]
    sentinel: bool = False
    certificate: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # A sentinel writes into its configuration what it learns.
        if not self._config.exists():
            port = "tls-port" if self.certificate else "port"
            fixed: dict[str, object] = {port: self.port, "bind": "127.0.0.1", "dir": self.folder}
            fixed |= {"logfile": f"{self.port}.log"}
            lines = [f"{name} {value}" for name, value in (fixed | self.options).items()]
            self._config.write_text("\n".join(lines) + "\n")
        flags = ["--sentinel"] if self.sentinel else []
        command = [sys.executable, "-c", DIES_WITH_ITS_PARENT, BINARY, str(self._config), *flags]
        self.process = subprocess.Popen(command)
        wait_for(self.client.ping, f"server on {self.port}")

    @property
    def client(self) -> Redis:
        password = None if self.sentinel else PASSWORD
        tls = {"ssl": True, "ssl_ca_certs": str(self.certificate)} if self.certificate else {}
        where: Any = {"host": "127.0.0.1", "port": self.port, "password": password}
        return Redis(socket_timeout=5, protocol=2, **where, **tls)

    def ask(self, *words: object) -> Any:
        with self.client as client:
            return client.execute_command(*words)

    def follow(self, master: "Node") -> None:
        """From its next start on be a replica; sentinels would see to it only after a while."""
        with self._config.open("a") as config:
            config.write(f"replicaof 127.0.0.1 {master.port}\n")

    @property
    def _config(self) -> Path:
        return self.folder / f"{self.port}.conf"

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


_SERVER: dict[str, object] = {
    "requirepass": PASSWORD, "masterauth": PASSWORD, "save": '""', "maxmemory-policy": "noeviction",
}  # fmt: skip


@dataclass
class Cluster:
    """Three masters with a third of the slots each."""

    nodes: list[Node] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Names one node: the others are found there."""
        return f"redis+cluster://:{QUOTED}@127.0.0.1:{self.nodes[0].port}"

    def start(self, folder: Path) -> None:
        ports = free_ports(6)
        for port, bus_port in zip(ports[:3], ports[3:], strict=True):
            options = _SERVER | {
                "cluster-enabled": "yes", "cluster-port": bus_port, "appendonly": "no",
                "cluster-config-file": f"nodes-{port}.conf", "cluster-node-timeout": 5000,
            }  # fmt: skip
            self.nodes.append(Node(folder, port, options))
        bounds = [0, 5461, 10923, _SLOTS]
        for node, first, end in zip(self.nodes, bounds, bounds[1:], strict=False):
            node.start()
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for node, bus_port in zip(self.nodes[1:], ports[4:], strict=True):
            self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus_port)
        for node in self.nodes:
            wait_for(lambda node=node: self._sees_all(node), "cluster")

    def _sees_all(self, node: Node) -> bool:
        found = bytes(node.ask("CLUSTER", "INFO")).decode()
        return "cluster_state:ok" in found and "cluster_size:3" in found

    def pools(self) -> list[str]:
        """Names of pools, one for each master in their order."""
        names: list[str] = []
        for wanted in range(3):
            numbers = (f"pool-{number}" for number in range(1000))
            names.append(next(name for name in numbers if self.place(name) == wanted))
        return names

    def place(self, pool: str) -> int:
        """The number of the master that has a pool at first."""
        return slot_of(pool) * 3 // _SLOTS

    def prefixes(self, node: Node) -> set[str]:
        """The pools of the keys that a master holds."""
        with node.client as client:
            return {key.decode().split("}")[0].partition("{")[2] for key in client.scan_iter()}

    def move(self, slot: int, source: Node, target: Node, pause: Callable[[], None]) -> None:
        """Move a slot as redis-cli does; `pause` is called in the middle of it."""
        ids = {node.port: bytes(node.ask("CLUSTER", "MYID")).decode() for node in self.nodes}
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
        pause()
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
            to = ("127.0.0.1", target.port, "", 0, 5000, "AUTH", PASSWORD, "KEYS")
            source.ask("MIGRATE", *to, *keys)
        for node in (target, source, *self.nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


def slot_of(pool: str) -> int:
    return int(key_slot(Keys(pool).prefix.encode()))


@dataclass
class SentinelSet:
    """Two servers, one of them the master, and three sentinels that watch."""

    servers: list[Node] = field(default_factory=list)
    sentinels: list[Node] = field(default_factory=list)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.sentinels)
        return f"redis+sentinel://:{QUOTED}@{hosts}/{SERVICE}/0"

    @property
    def master(self) -> Node:
        """The one that a majority of the sentinels names."""
        return wait_for(self._master, "a master")  # type: ignore[no-any-return]

    def _master(self) -> Node | None:
        named = [int(node.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) for node in
                 self.sentinels]  # fmt: skip
        for node in self.servers:
            if named.count(node.port) >= 2:
                return node
        return None

    def start(self, folder: Path) -> None:
        ports = free_ports(5)
        for number, port in enumerate(ports[:2]):
            options = _SERVER | {"appendonly": "yes", "appenddirname": f"aof-{port}"}
            options |= {"dbfilename": f"{port}.rdb", "repl-diskless-sync-delay": 0}
            if number:
                options["replicaof"] = f"127.0.0.1 {ports[0]}"
            self.servers.append(Node(folder, port, options))
            self.servers[-1].start()
        wait_for(self._in_step, "a replica in step")
        for port in ports[2:]:
            self.sentinels.append(Node(folder, port, _watches(ports[0]), sentinel=True))
            self.sentinels[-1].start()
        wait_for(self._watched, "sentinels know each other and the replica")

    def _in_step(self) -> bool:
        with self.servers[0].client as client:
            replica: Any = client.info("replication").get("slave0", {})
            return replica.get("state") == "online"

    def _watched(self) -> bool:
        for node in self.sentinels:
            words = [bytes(word) for word in node.ask("SENTINEL", "MASTER", SERVICE)]
            about = dict(zip(words[::2], words[1::2], strict=True))
            if (about[b"num-slaves"], about[b"num-other-sentinels"]) != (b"1", b"2"):
                return False
        return True

    def stop(self) -> None:
        for node in (*self.sentinels, *self.servers):
            node.kill()


def _watches(port: int) -> dict[str, object]:
    return {
        f"sentinel monitor {SERVICE}": f"127.0.0.1 {port} 2",
        f"sentinel auth-pass {SERVICE}": PASSWORD,
        f"sentinel down-after-milliseconds {SERVICE}": 2000,
        f"sentinel failover-timeout {SERVICE}": 5000,
    }


_Set = TypeVar("_Set", Cluster, SentinelSet)


@contextlib.contextmanager
def running(one: _Set, folder: Path) -> Iterator[_Set]:
    try:
        one.start(folder)
        yield one
    finally:
        one.stop()
