"""The systems whose cost is measured, as they are started in front of the units."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bench.contenders import read_contender
from bench.cost.haproxy import haproxy_binary, haproxy_command
from bench.cost.ports import Ports
from bench.cost.unit import MODEL
from bench.cost.wire import Target
from bench.spec import SpecError
from cli.program import Layout, Program

DIRECT = "direct"
_HERE = Path(__file__).parent
_LOOPBACK = "127.0.0.1"
_LITELLM_KEY = "sk-bench"
_ADASPLIT_PORTS_BESIDE_DISPATCHERS = 2


class Absent(Exception):
    """A system that is not installed; the message says what would install it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a system is to stand: the units behind it, free ports, its files, peers' folders."""

    unit_urls: Mapping[str, str]
    ports: Ports
    folder: Path
    peers: Path

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(self.unit_urls.values())


@dataclass(frozen=True, slots=True)
class System:
    """What to start and where to send requests.

    Of AdaSplit: `seen_at` shows its units once they live, `note` says where its Redis is.
    """

    target: Target
    program: Program | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    seen_at: str = ""
    note: Path | None = None

    @property
    def name(self) -> str:
        return self.target.name

    def redis_url(self) -> str:
        """Where the Redis of a running AdaSplit is."""
        return str(orjson.loads(self.note.read_bytes())["redis_url"]) if self.note else ""


def system(text: str, place: Place) -> System:
    """What a name of a peer, or a contender as `bench compare` reads it, stands for.

    Raises SpecError, Absent.
    """
    if text == DIRECT:
        return System(Target(DIRECT, place.urls))
    if text in PEERS:
        return PEERS[text](place)
    try:
        contender = read_contender(text, {}, len(place.unit_urls))
    except SpecError as error:
        raise SpecError(f"{error}; and the peers: {', '.join(PEERS)}") from None
    if contender.url:
        return System(Target(contender.name, (contender.url,)))
    units = len(place.unit_urls)
    port = place.ports.block(units + _ADASPLIT_PORTS_BESIDE_DISPATCHERS)
    layout = Layout(port=port, admin_port=port + 1, units=place.unit_urls, dashboard_port=0)
    # The note of a running `adasplit up` is for its user's other commands: this one is not theirs.
    settings = contender.environment(1) | {"XDG_RUNTIME_DIR": str(place.folder)}
    ours = contender.kind == "adasplit"
    return System(
        Target(contender.name, (layout.url,)),
        contender.front(layout, place.folder),
        settings,
        seen_at=layout.url if ours else "",
        note=place.folder / "adasplit" / "up.json" if ours else None,
    )


def _haproxy(place: Place) -> System:
    port = place.ports.block(1)
    command = haproxy_command(_haproxy_binary(), place.folder, port, place.unit_urls)
    return _peer("haproxy", port, tuple(command), "/health")


def _haproxy_chain(place: Place) -> System:
    binary = _haproxy_binary()
    port = place.ports.block(1 + len(place.urls))
    command = (
        *(sys.executable, "-m", "bench.cost.haproxy", "--binary", binary),
        *("--folder", str(place.folder), "--port", str(port)),
        *(part for url in place.urls for part in ("--unit", url)),
    )
    return _peer("haproxy-chain", port, command, "/health")


def _haproxy_binary() -> str:
    binary = haproxy_binary()
    if binary is None:
        raise Absent("haproxy is not installed; Debian has it under this name")
    return binary


def _vllm_router(place: Place) -> System:
    port = place.ports.block(2)
    command = (_installed(place, "routers", "vllm-router"), *_rust_options(place, port))
    return _peer("vllm-router", port, command, "/health")


def _sglang_router(place: Place) -> System:
    port = place.ports.block(2)
    python = _installed(place, "routers", "python")
    command = (python, "-m", "sglang_router.launch_router", *_rust_options(place, port))
    return _peer("sglang-router", port, command, "/health")


def _rust_options(place: Place, port: int) -> tuple[str, ...]:
    return (
        *("--host", _LOOPBACK, "--port", str(port), "--policy", "round_robin"),
        *("--prometheus-host", _LOOPBACK, "--prometheus-port", str(port + 1)),
        *("--worker-urls", *place.urls),
    )


def _litellm(place: Place) -> System:
    port = place.ports.block(1)
    models = [
        {
            "model_name": MODEL,
            "litellm_params": {
                "model": f"openai/{MODEL}",
                "api_base": f"{url}/v1",
                "api_key": "none",
            },
        }
        for url in place.urls
    ]
    config = place.folder / "litellm.yaml"
    config.write_bytes(orjson.dumps({"model_list": models}))  # YAML reads JSON
    command = (
        *(_installed(place, "litellm", "litellm"), "--config", str(config), "--num_workers", "1"),
        *("--host", _LOOPBACK, "--port", str(port)),
    )
    # It would fetch its price list from the network, and log each request at the level info.
    settings = {
        "LITELLM_MASTER_KEY": _LITELLM_KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
    }
    headers = {"authorization": f"Bearer {_LITELLM_KEY}"}
    return _peer("litellm", port, command, "/health/liveliness", settings, headers)


def _ray(place: Place) -> System:
    port = place.ports.block(1)
    return _ray_serve("ray", place, port, {})


def _ray_haproxy(place: Place) -> System:
    port = place.ports.block(3)
    settings = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(port + 1),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(port + 2),
    }
    return _ray_serve("ray-haproxy", place, port, settings)


def _ray_serve(name: str, place: Place, port: int, more: Mapping[str, str]) -> System:
    units = [part for url in place.urls for part in ("--unit", url)]
    front = str(_HERE / "ray_front.py")
    command = (_installed(place, "ray", "python"), front, "--port", str(port), *units)
    settings = {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    return _peer(name, port, command, "/-/healthz", settings | dict(more))


PEERS: dict[str, Callable[[Place], System]] = {
    "haproxy": _haproxy,
    "haproxy-chain": _haproxy_chain,
    "vllm-router": _vllm_router,
    "sglang-router": _sglang_router,
    "litellm": _litellm,
    "ray": _ray,
    "ray-haproxy": _ray_haproxy,
}


def _installed(place: Place, folder: str, program: str) -> str:
    found = place.peers / folder / "bin" / program
    if not found.exists():
        raise Absent(f"{found} is missing; `make peers` installs it")
    return str(found.absolute())


def _peer(
    name: str,
    port: int,
    command: tuple[str, ...],
    ready: str,
    settings: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> System:
    url = f"http://{_LOOPBACK}:{port}"
    program = Program(name, "gateways", command, url + ready)
    return System(Target(name, (url,), headers or {}), program, settings or {})


def units(number: int, ports: Ports, tokens_per_s: float) -> list[Program]:
    """The programs of so many units."""
    first = ports.block(number)
    return [
        Program(
            f"unit-{place + 1}",
            "units",
            (
                *(sys.executable, "-m", "bench.cost.unit", "--port", str(first + place)),
                *("--tokens-per-s", f"{tokens_per_s:g}"),
            ),
            f"http://{_LOOPBACK}:{first + place}/health",
        )
        for place in range(number)
    ]
