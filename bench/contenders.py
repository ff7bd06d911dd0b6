"""The systems that a comparison can start: what each text means, and the programs it becomes."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from bench.result import System
from bench.spec import SpecError
from cli.program import Layout, Program
from common.policy import Policy
from common.settings import Settings

BASELINES = ("static", "round-robin", "least-in-flight", "fifo")
_KINDS = ("adasplit", *BASELINES)
_NAMED = re.compile(r"(?P<name>[^=:,]+)=(?P<rest>.+)")
_PARTITION = re.compile(r"(?P<short>\d+)/(?P<long>\d+)")
_GATEWAYS = re.compile(r"gateways=(?P<number>[1-9]\d*)")

SCALED = (
    *(name for name in Policy.model_fields if name.endswith("_s") and "_per_" not in name),
    *("request_timeout_s", "first_byte_timeout_s", "whole_answer_timeout_s"),
    *("between_chunk_timeout_s", "claim_poll_s"),
)
"""Times that shrink with a faster life: those of the policy, and those in which units work."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One system of a comparison. `partition` is a static one's; `url` that of one that runs.

    Several `gateways` share AdaSplit's port.
    """

    name: str
    kind: str
    settings: Mapping[str, str] = field(default_factory=dict)
    partition: tuple[int, int] | None = None
    url: str = ""
    gateways: int = 1

    def system(self, units: int) -> System:
        """What the result says of it."""
        return System(self.name, self.kind, self.settings, units)

    def environment(self, speed: float) -> dict[str, str]:
        """Its settings as its processes read them, on units so many times faster than life."""
        wanted = {**self.settings, **self._scaled(speed)} if speed != 1 else self.settings
        return {f"ADASPLIT_{name.upper()}": value for name, value in wanted.items()}

    def front(self, layout: Layout, logs: Path) -> Program:
        """The program that clients speak to."""
        if self.kind == "adasplit":
            return _adasplit(layout, self.gateways, logs / "adasplit")
        return _baseline(self, layout)

    def metrics(self, layout: Layout) -> tuple[str, ...]:
        """The pages that have AdaSplit's counters."""
        if self.kind != "adasplit":
            return ()
        count = len(layout.unit_urls) + 1
        ports = range(layout.admin_port, layout.admin_port + count)
        return (*(f"http://127.0.0.1:{port}/metrics" for port in ports), f"{layout.url}/metrics")

    def _scaled(self, speed: float) -> dict[str, str]:
        defaults = _defaults()
        values = {name: self.settings.get(name, defaults[name]) for name in SCALED}
        return {name: f"{float(value) / speed:g}" for name, value in values.items()}


def read_contenders(texts: Sequence[str], settings: Sequence[str], units: int) -> list[Contender]:
    """Systems of different names; `settings` hold for all of them. Raises SpecError."""
    shared = _settings(",".join(settings), "--set") if settings else {}
    found: list[Contender] = []
    for text in texts:
        one = read_contender(text, shared, units)
        if one.name in {other.name for other in found}:
            raise SpecError(f"two systems are called {one.name}; NAME={text} gives another name")
        found.append(one)
    return found


def read_contender(text: str, shared: Mapping[str, str], units: int) -> Contender:
    """`adasplit:setting=value,…`, `adasplit:gateways=2`, `static:1/3`, `name=http://…`.

    Raises SpecError.
    """
    named = _NAMED.fullmatch(text)
    name, rest = (named["name"], named["rest"]) if named else (text, text)
    if rest.startswith(("http://", "https://")):
        return Contender(name, "url", url=rest.rstrip("/").removesuffix("/v1"))
    kind, *parts = rest.split(":")
    if kind not in _KINDS:
        raise SpecError(f"{text}: there is no {kind}; there is {', '.join(_KINDS)}, and any URL")
    partition, gateways = None, 1
    settings = dict(shared)
    for part in parts:
        split, several = _PARTITION.fullmatch(part), _GATEWAYS.fullmatch(part)
        if split and kind == "static":
            partition = (int(split["short"]), int(split["long"]))
        elif several and kind == "adasplit":
            gateways = int(several["number"])
        else:
            settings |= _settings(part, text)
    if kind == "static":
        partition = partition or (units // 2, units - units // 2)
        if sum(partition) != units or not all(partition):
            raise SpecError(f"{text}: {units} units cannot be divided so; as {kind}:1/{units - 1}")
    return Contender(name, kind, settings, partition, gateways=gateways)


@cache
def _defaults() -> dict[str, Any]:
    """Every setting of the processes that a system consists of, with its default."""
    # These bring in whole web frameworks, for which other commands are not to wait.
    from dispatcher.settings import DispatcherSettings  # noqa: PLC0415
    from gateway.settings import GatewaySettings  # noqa: PLC0415
    from scaler.settings import ScalerSettings  # noqa: PLC0415

    kinds = (Settings, GatewaySettings, DispatcherSettings, ScalerSettings)
    return {name: of.default for kind in kinds for name, of in kind.model_fields.items()}


def _settings(text: str, of: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        name = name.strip().lower().removeprefix("adasplit_")
        if not equals:
            raise SpecError(f"{of}: {pair} stands where setting=value should")
        if name not in _defaults():
            raise SpecError(f"{of}: there is no setting {name}")
        found[name] = value.strip()
    return found


def _adasplit(layout: Layout, gateways: int, logs: Path) -> Program:
    units = [part for name, url in layout.unit_urls.items() for part in ("--unit", f"{name}={url}")]
    command = (
        *(sys.executable, "-m", "cli", "up", *units, "--no-view", "--logs", str(logs)),
        *("--host", layout.host, "--port", str(layout.port)),
        *("--admin-port", str(layout.admin_port), "--dashboard-port", "0"),
        *("--gateways", str(gateways)),
    )
    return Program("adasplit", "gateways", command, f"{layout.url}/readyz")


def _baseline(contender: Contender, layout: Layout) -> Program:
    units = [part for url in layout.unit_urls.values() for part in ("--unit", url)]
    parts = contender.partition
    partition = ("--short", str(parts[0]), "--long", str(parts[1])) if parts else ()
    command = (
        *(sys.executable, "-m", "baseline", "--policy", contender.kind, *partition, *units),
        *("--host", layout.host, "--port", str(layout.port)),
    )
    return Program("baseline", "gateways", command, f"{layout.url}/readyz")
