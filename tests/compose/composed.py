"""One composed system, as its user drives it: with compose, docker and HTTP."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from tests.architecture.conftest import ROOT

_LONGEST_S = 900
_PAGE = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
# All but the first process, which nothing inside the container can kill, and the one that kills.
_CRASH = (
    "import os, signal; me = {1, os.getpid()}\n"
    "for pid in {int(name) for name in os.listdir('/proc') if name.isdigit()} - me:\n"
    "    os.kill(pid, signal.SIGKILL)"
)


def wait_for(fact: Callable[[], bool], what: str, longest_s: float = 120) -> None:
    """Until it is so. Raises TimeoutError."""
    until_s = time.monotonic() + longest_s
    while not fact():
        if time.monotonic() > until_s:
            raise TimeoutError(what)
        time.sleep(0.25)


@dataclass(frozen=True)
class Composed:
    """`command` is compose with its files and its project; `url` is the edge's."""

    command: list[str]
    environment: dict[str, str]
    url: str

    def compose(self, *arguments: str) -> str:
        return self._run([*self.command, *arguments])

    def docker(self, *arguments: str) -> str:
        return self._run(["docker", *arguments])

    def _run(self, command: list[str]) -> str:
        run = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
        assert run.returncode == 0, f"{command}: {run.stdout[-2000:]} {run.stderr[-4000:]}"
        return run.stdout

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        (found,) = json.loads(self.docker("inspect", container))
        return dict(found)

    def scale_gateways(self, count: int) -> None:
        """Returns when those that are new are healthy and those that are too many have left."""
        self.compose("up", "-d", "--no-recreate", "--scale", f"gateway={count}")
        gateways = self.containers("gateway")
        wait_for(lambda: all(map(self.healthy, gateways)), f"{count} healthy gateways")

    def healthy(self, container: str) -> bool:
        return bool(self.inspect(container)["State"]["Health"]["Status"] == "healthy")

    def crash(self, container: str) -> None:
        """Its process dies by itself, as far as the engine can tell."""
        self.docker("exec", container, "python", "-c", _CRASH)

    def page(self, container: str, url: str) -> str:
        """What a container serves to itself."""
        return self.docker("exec", container, "python", "-c", _PAGE, url)

    def answered_by(self, gateway: str) -> int:
        """Requests with a job that a gateway's container has answered since it started."""
        lines = self.page(gateway, "http://127.0.0.1:8000/metrics").splitlines()
        counted = [
            line.rpartition(" ")[2]
            for line in lines
            if line.startswith("adasplit_gateway_requests_total{") and 'class="none"' not in line
        ]
        return round(sum(map(float, counted)))

    def state(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.url}/v1/state", timeout=30).raise_for_status().json())

    def live_units(self) -> int:
        return sum(unit["alive"] for unit in self.state()["units"].values())

    def at_rest(self) -> bool:
        state = self.state()
        running = sum(sum(unit["active"].values()) for unit in state["units"].values())
        waiting = sum(queue["depth"] for queue in state["queues"].values())
        return bool(running + waiting == 0)

    def wait_ready(self) -> None:
        def ready() -> bool:
            try:
                return self.live_units() == 4
            except httpx.HTTPError:
                return False

        wait_for(ready, "four live units behind the edge")
