"""What one engine step costs: a calibration file and the few sums that read it."""

import dataclasses
import json
from bisect import bisect_right
from pathlib import Path
from typing import Any

DEFAULT_CALIBRATION = Path(__file__).with_name("h200-llama3-70b-fp8.json")

Knots = tuple[tuple[float, float], ...]


class CalibrationError(ValueError):
    """A calibration file that is missing, not JSON or lacks a constant."""


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """The constants of one kind of unit; tables are knots of a piecewise linear function."""

    name: str
    kv_cache_tokens: int
    max_batched_tokens: int
    decode_step_s: Knots
    """Seconds of a step that only decodes, by number of sequences, before their context counts."""
    decode_context_s: float
    """Seconds per decoded sequence and token of its context."""
    prefill_step_s: Knots
    """Seconds of a step with prefill in it, by all tokens of the step, before attention counts."""
    prefill_context_s: float
    """Seconds per prefilled token and token of context before it."""
    frontend_s: float
    """Seconds between the arrival of a request and the first step that can contain it."""


@dataclasses.dataclass(slots=True)
class StepLoad:
    """What a step has to compute."""

    decode_sequences: int = 0
    decode_context_tokens: int = 0
    prefill_tokens: int = 0
    prefill_attention: float = 0.0
    """Sum over prefilled tokens of the context before each."""

    def add_decode(self, context_tokens: int) -> None:
        self.decode_sequences += 1
        self.decode_context_tokens += context_tokens

    def add_prefill(self, tokens: int, context_tokens: int) -> None:
        self.prefill_tokens += tokens
        self.prefill_attention += tokens * (context_tokens + tokens / 2)


class Table:
    """A piecewise linear function, continued beyond its ends along the outermost pieces."""

    def __init__(self, knots: Knots) -> None:
        self._at = [at for at, _ in knots]
        self._value = [value for _, value in knots]

    def __call__(self, at: float) -> float:
        right = min(max(bisect_right(self._at, at), 1), len(self._at) - 1)
        low, high = self._at[right - 1], self._at[right]
        share = (at - low) / (high - low)
        return self._value[right - 1] * (1 - share) + self._value[right] * share


class CostModel:
    """Seconds of a step from its load. Pure."""

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self._decode = Table(calibration.decode_step_s)
        self._prefill = Table(calibration.prefill_step_s)

    def step_s(self, load: StepLoad) -> float:
        if load.prefill_tokens:
            fixed_s = self._prefill(load.prefill_tokens + load.decode_sequences)
        else:
            fixed_s = self._decode(load.decode_sequences)
        calibration = self.calibration
        return (
            fixed_s
            + load.prefill_attention * calibration.prefill_context_s
            + load.decode_context_tokens * calibration.decode_context_s
        )


def read_calibration(path: Path = DEFAULT_CALIBRATION) -> Calibration:
    """Raises CalibrationError with one line that says what is wrong with the file."""
    try:
        return parse_calibration(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CalibrationError(f"calibration file {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise CalibrationError(f"calibration file {path}: {error!r}") from error


def parse_calibration(fields: dict[str, Any]) -> Calibration:
    return Calibration(
        name=str(fields["name"]),
        kv_cache_tokens=int(fields["kv_cache_tokens"]),
        max_batched_tokens=int(fields["max_batched_tokens"]),
        decode_step_s=_knots(fields["decode_step_s"]),
        decode_context_s=float(fields["decode_context_s"]),
        prefill_step_s=_knots(fields["prefill_step_s"]),
        prefill_context_s=float(fields["prefill_context_s"]),
        frontend_s=float(fields["frontend_s"]),
    )


def _knots(pairs: list[list[float]]) -> Knots:
    knots = tuple((float(at), float(value)) for at, value in pairs)
    ats = [at for at, _ in knots]
    if len(set(ats)) < 2 or ats != sorted(set(ats)):  # noqa: PLR2004 - a line needs two points
        raise ValueError("a table needs two or more knots in rising order")
    return knots
