"""What `adasplit up` runs: the programs, in which order they start and stop."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Stage = Literal["redis", "units", "dispatchers", "scaler", "gateways", "dashboard"]

START_ORDER: tuple[tuple[Stage, ...], ...] = (
    ("redis",),
    ("units",),
    ("scaler", "dispatchers", "gateways", "dashboard"),
)
"""Each group starts when the one before it is ready; a dispatcher then finds its unit at once."""

STOP_ORDER: tuple[Stage, ...] = (
    *("gateways", "dispatchers", "scaler"),
    *("dashboard", "units", "redis"),
)
"""Whoever needs another stops before it: gateways finish open answers while all else still runs,
dispatchers drain while their units answer and the dashboard shows it, and Redis goes last because
all others write to it."""


_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Program:
    """One process. It is ready when `ready_url` answers 200, or Redis a PING when it is Redis."""

    name: str
    stage: Stage
    command: tuple[str, ...]
    ready_url: str = ""


@dataclass(frozen=True)
class Layout:
    """What to run where; `units` are given ones, else `simulated` are started.

    `host` is the gateways' and `dashboard_host` the dashboard's: what else listens does so for this
    machine only. `dashboard_port` 0 is no dashboard.
    """

    host: str = _LOOPBACK
    port: int = 8000
    unit_port: int = 8001
    admin_port: int = 9100
    gateways: int = 1
    simulated: int = 4
    speed: float = 1.0
    units: Mapping[str, str] | None = None
    dashboard_host: str = _LOOPBACK
    dashboard_port: int = 8080

    @property
    def url(self) -> str:
        return _url(self.host, self.port)

    @property
    def dashboard_url(self) -> str:
        """Where a browser on this machine finds the dashboard; empty when there is none."""
        return _url(self.dashboard_host, self.dashboard_port) + "/" if self.dashboard_port else ""

    @property
    def unit_urls(self) -> dict[str, str]:
        """Every unit's name and URL."""
        if self.units:
            return dict(self.units)
        return {
            f"unit-{number + 1}": _url(_LOOPBACK, self.unit_port + number)
            for number in range(self.simulated)
        }

    def ports(self) -> dict[int, tuple[str, str]]:
        """Every port that is needed: for what, and the option that changes it."""
        wanted = [(self.port, "the gateway", "--port")]
        if not self.units:
            for number, name in enumerate(self.unit_urls):
                wanted.append((self.unit_port + number, name, "--unit-port"))
        wanted.append((self.admin_port, "the scaler", "--admin-port"))
        for number, name in enumerate(self.unit_urls, start=1):
            wanted.append((self.admin_port + number, f"the dispatcher of {name}", "--admin-port"))
        if self.dashboard_port:
            wanted.append((self.dashboard_port, "the dashboard", "--dashboard-port"))
        return _distinct(wanted)

    def programs(self) -> list[Program]:
        """Everything but Redis."""
        units = [] if self.units else self._simulators()
        duties = [self._scaler(), *self._dispatchers(), *self._gateways()]
        return [*units, *duties, *self._dashboard()]

    def _simulators(self) -> list[Program]:
        return [
            _program(
                f"simulator-{name}", "units", "simulator", _LOOPBACK, self.unit_port + number,
                "--speed", f"{self.speed:g}",
            )
            for number, name in enumerate(self.unit_urls)
        ]  # fmt: skip

    def _scaler(self) -> Program:
        return _program("scaler", "scaler", "scaler", _LOOPBACK, self.admin_port)

    def _dispatchers(self) -> list[Program]:
        return [
            _program(
                f"dispatcher-{name}", "dispatchers", "dispatcher", _LOOPBACK,
                self.admin_port + number, "--unit", name, "--url", url,
            )
            for number, (name, url) in enumerate(self.unit_urls.items(), start=1)
        ]  # fmt: skip

    def _gateways(self) -> list[Program]:
        # Several gateways listen on one port, among which the kernel spreads the connections.
        shared = ("--share-port",) if self.gateways > 1 else ()
        return [
            _program(f"gateway-{number}", "gateways", "gateway", self.host, self.port, *shared)
            for number in range(1, self.gateways + 1)
        ]

    def _dashboard(self) -> list[Program]:
        if not self.dashboard_port:
            return []
        where = self.dashboard_host, self.dashboard_port
        return [_program("dashboard", "dashboard", "dashboard", *where)]

    def host_of(self, port: int) -> str:
        """The address on which a port is listened on."""
        hosts = {self.dashboard_port: self.dashboard_host, self.port: self.host}
        return hosts.get(port, _LOOPBACK)


def _program(name: str, stage: Stage, module: str, host: str, port: int, *more: str) -> Program:
    command = (sys.executable, "-m", module, "--host", host, "--port", str(port), *more)
    page = "/health" if module == "simulator" else "/readyz"
    return Program(name, stage, command, _url(host, port) + page)


def _url(host: str, port: int) -> str:
    # A server that listens everywhere is asked here.
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound
    return f"http://[{near}]:{port}" if ":" in near else f"http://{near}:{port}"


def _distinct(wanted: list[tuple[int, str, str]]) -> dict[int, tuple[str, str]]:
    ports: dict[int, tuple[str, str]] = {}
    for port, what, option in wanted:
        if port in ports:
            raise ValueError(f"port {port} is wanted by {ports[port][0]} and by {what}")
        ports[port] = (what, option)
    return ports
