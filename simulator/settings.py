"""Settings of one simulated unit, from the command line or from SIMULATOR_ variables."""

import argparse
import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import orjson

from simulator.costs import DEFAULT_CALIBRATION, Calibration, CalibrationError, read_calibration
from simulator.engine import BLOCK_TOKENS
from simulator.errors import RefusedError
from simulator.faults import Fault, read_fault

_PREFIX = "SIMULATOR_"
_HIGHEST_PORT = 65535


class SettingsError(ValueError):
    """A setting that cannot be; the message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Built once, in `__main__`, and passed down."""

    host: str
    port: int
    model: str
    speed: float
    """Simulated seconds per real second."""
    calibration: Calibration
    max_num_seqs: int
    kv_cache_tokens: int
    max_model_len: int
    seed: int
    start_s: float
    """Simulated seconds from start until the unit is ready; until then it answers 503."""
    faults: tuple[Fault, ...]


def read_settings(arguments: list[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError; an unknown flag ends the process, as argparse does."""
    found = _parser(environment).parse_args(arguments)
    try:
        calibration = read_calibration(found.calibration)
        faults = tuple(_read_fault(one) for one in found.fault)
    except (CalibrationError, RefusedError) as error:
        raise SettingsError(str(error)) from error
    settings = Settings(
        host=found.host,
        port=found.port,
        model=found.model,
        speed=found.speed,
        calibration=calibration,
        max_num_seqs=found.max_num_seqs,
        kv_cache_tokens=found.kv_cache_tokens or calibration.kv_cache_tokens,
        max_model_len=found.max_model_len,
        seed=found.seed,
        start_s=found.start_s,
        faults=faults,
    )
    _check(settings)
    return settings


def _read_fault(text: str) -> Fault:
    try:
        return read_fault(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"--fault is not JSON: {text}") from error


def _check(settings: Settings) -> None:
    if not 0 <= settings.port <= _HIGHEST_PORT:
        raise SettingsError(f"port {settings.port} is not between 0 and {_HIGHEST_PORT}")
    for name in ("speed", "max_num_seqs", "kv_cache_tokens", "max_model_len"):
        if getattr(settings, name) <= 0:
            raise SettingsError(f"{name} must be above 0, is {getattr(settings, name)}")
    if settings.max_model_len > settings.kv_cache_tokens // BLOCK_TOKENS * BLOCK_TOKENS:
        raise SettingsError(
            f"max_model_len {settings.max_model_len} is more than the KV cache holds: "
            f"{settings.kv_cache_tokens} tokens"
        )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="A vLLM server as seen from outside. Every flag can also be given as "
        "SIMULATOR_<FLAG>, for example SIMULATOR_SPEED=10.",
    )

    def add(flag: str, default: Any, help_text: str) -> None:
        name = flag.replace("-", "_").upper()
        parser.add_argument(
            f"--{flag}",
            default=environment.get(_PREFIX + name, default),
            type=type(default),
            help=f"{help_text} (%(default)s)",
        )

    add("host", "127.0.0.1", "address to listen on")
    add("port", 8001, "port to listen on; 0 takes a free one")
    add("model", "simulated-llama-3-70b", "name of the served model")
    add("speed", 1.0, "how many times faster than life")
    add("calibration", DEFAULT_CALIBRATION, "constants of the unit, JSON")
    add("max-num-seqs", 256, "sequences in one step, at most")
    add("kv-cache-tokens", 0, "size of the KV cache; 0 takes the calibration's")
    add("max-model-len", 131_072, "prompt and answer together, at most, in tokens")
    add("seed", 0, "of texts, lengths and faults")
    add("start-s", 0.0, "simulated seconds from start until ready")
    fault = environment.get(_PREFIX + "FAULT")
    parser.add_argument(
        "--fault",
        action="append",
        default=[fault] if fault else [],
        metavar="JSON",
        help="a fault in force from the start, may be repeated: see docs/simulator.md",
    )
    return parser
