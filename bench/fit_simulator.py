"""Fits the simulator's constants to the measurements of a real unit and prints how well they meet.

Knots of the two step-time tables and both attention constants are found by least squares on the
logarithm of simulated over measured: prefill times, decode steps, closed-loop throughput, stalls.
"""

import argparse
import dataclasses
import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from simulator import replay
from simulator.costs import DEFAULT_CALIBRATION, Calibration, Knots, read_calibration

MEASURED = DEFAULT_CALIBRATION.with_name("h200-llama3-70b-fp8.measured.json")

# Between 16 and 17 sequences the matrix kernels change, and a step costs a third more.
_DECODE_AT = (1.0, 8.0, 16.0, 17.0, 32.0, 64.0, 128.0)
# Above 512 tokens a step runs outside CUDA graphs: 600 tokens cost 1.4 times what 512 do.
_PREFILL_AT = (128.0, 512.0, 600.0, 1024.0, 2048.0, 4096.0, 8192.0)
_ONE_TOKEN_S = 0.021
_FRONTEND_S = 0.002
"""Not fitted, for one prompt alone cannot tell it from the step: reading and answering HTTP."""
_STALL_WEIGHT = 0.3
"""A stall is read once per prompt length, everything else is a median or lasts many seconds."""
_SIGNIFICANT = 4

Measurements = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """One measured number beside the simulated one."""

    kind: str
    case: str
    unit: str
    measured: float
    simulated: float

    @property
    def error(self) -> float:
        """Relative; positive when the simulator's number is the larger."""
        return self.simulated / self.measured - 1


def read_measurements(path: Path = MEASURED) -> Measurements:
    found: Measurements = json.loads(path.read_text(encoding="utf-8"))
    return found


def compare(calibration: Calibration, measured: Measurements) -> list[Point]:
    """Every measurement that the fidelity check bounds, replayed."""
    return [
        *_prefill_points(calibration, measured["prefill"]),
        *_decode_points(calibration, measured["decode"]),
        *_stall_points(calibration, measured["interference"]),
        *_knee_points(calibration, measured["knee"]),
    ]


def first_tokens(calibration: Calibration, measured: Measurements) -> list[Point]:
    """TTFT under load: printed, not fitted. See the limits in docs/simulator.md."""
    return [
        *(
            Point(
                "ttft",
                f"{one['prompt']} beside 8 chats",
                "s",
                one["ttft_s"],
                replay.interference(calibration, one["prompt"]).ttft_s,
            )
            for one in measured["interference"]
        ),
        *(
            Point(
                "ttft",
                f"{one['class']}, {one['c']} in flight",
                "s",
                one["ttft50"],
                _closed_loop(calibration, one).ttft_p50_s,
            )
            for one in measured["knee"]
        ),
    ]


def fit(measured: Measurements) -> Calibration:
    """Starts from straight lines; raises RuntimeError when the search does not converge."""
    start = _starting_point()

    def residuals(logs: Any) -> list[float]:
        candidate = _calibration(measured, start * np.exp(logs))
        return [
            math.log1p(point.error) * (_STALL_WEIGHT if point.kind == "stall" else 1)
            for point in compare(candidate, measured)
        ]

    found = least_squares(residuals, np.zeros(len(start)), diff_step=1e-4, x_scale=0.1)
    if not found.success:
        raise RuntimeError(f"no fit: {found.message}")
    rounded = [float(f"{value:.{_SIGNIFICANT}g}") for value in start * np.exp(found.x)]
    return _calibration(measured, rounded)


def write_calibration(calibration: Calibration, path: Path) -> None:
    fields = dataclasses.asdict(calibration)
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def table(points: Iterable[Point]) -> str:
    lines = ["| what | case | measured | simulated | error |", "|---|---|---:|---:|---:|"]
    lines += [
        f"| {one.kind} | {one.case} | {one.measured:.4g} {one.unit} "
        f"| {one.simulated:.4g} {one.unit} | {one.error:+.1%} |"
        for one in points
    ]
    return "\n".join(lines)


def summary(points: list[Point]) -> str:
    lines = []
    for kind in dict.fromkeys(one.kind for one in points):
        errors = [abs(one.error) for one in points if one.kind == kind]
        lines.append(
            f"{kind}: {len(errors)} points, median error {statistics.median(errors):.1%}, "
            f"largest {max(errors):.1%}"
        )
    return "\n".join(lines)


def _prefill_points(calibration: Calibration, rows: list[Measurements]) -> list[Point]:
    return [
        Point(
            "prefill",
            f"{row['prompt']} tokens",
            "s",
            row["ttft_s"],
            replay.prefill_ttft_s(calibration, row["prompt"]),
        )
        for row in rows
    ]


def _decode_points(calibration: Calibration, rows: list[Measurements]) -> list[Point]:
    return [
        Point(
            "decode",
            f"{row['batch']} x {row['ctx']} tokens",
            "s",
            row["step_s"],
            replay.decode_step_s(calibration, row["ctx"], row["batch"]),
        )
        for row in rows
    ]


def _stall_points(calibration: Calibration, rows: list[Measurements]) -> list[Point]:
    return [
        Point(
            "stall",
            f"{row['prompt']} tokens beside 8 chats",
            "s",
            row["gap_max"],
            replay.interference(calibration, row["prompt"]).gap_max_s,
        )
        for row in rows
    ]


def _knee_points(calibration: Calibration, rows: list[Measurements]) -> list[Point]:
    return [
        Point(
            "knee",
            f"{row['class']}, {row['c']} in flight",
            "tok/s",
            row["tok_s"],
            _closed_loop(calibration, row).tokens_per_s,
        )
        for row in rows
    ]


def _closed_loop(calibration: Calibration, row: Measurements) -> replay.ClosedLoop:
    return replay.closed_loop(
        calibration,
        prompt_tokens=row["prompt"],
        output_tokens=row["out"],
        clients=row["c"],
        requests=row["n"],
    )


def _starting_point() -> Any:
    decode = [0.021 + 50e-6 * at for at in _DECODE_AT]
    prefill = [0.028 + 106e-6 * at for at in _PREFILL_AT]
    return np.array([*decode, *prefill, 80e-9, 5.9e-9])


def _calibration(measured: Measurements, values: Any) -> Calibration:
    *steps, decode_context_s, prefill_context_s = map(float, values)
    decode, prefill = steps[: len(_DECODE_AT)], steps[len(_DECODE_AT) :]
    prefill_knots: Knots = tuple(zip(_PREFILL_AT, prefill, strict=True))
    return Calibration(
        name="h200-llama3-70b-fp8",
        kv_cache_tokens=measured["kv_cache_tokens"],
        max_batched_tokens=8192,
        decode_step_s=tuple(zip(_DECODE_AT, decode, strict=True)),
        decode_context_s=decode_context_s,
        prefill_step_s=((1.0, _ONE_TOKEN_S), *prefill_knots),
        prefill_context_s=prefill_context_s,
        frontend_s=_FRONTEND_S,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fit_simulator", description=__doc__)
    parser.add_argument("--measured", type=Path, default=MEASURED)
    parser.add_argument("--calibration", type=Path, default=DEFAULT_CALIBRATION)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    chosen = parser.parse_args()
    measured = read_measurements(chosen.measured)
    if not chosen.check:
        write_calibration(fit(measured), chosen.calibration)
    calibration = read_calibration(chosen.calibration)
    points = compare(calibration, measured)
    print(table(points), summary(points), sep="\n\n")
    print("\nNot fitted and not bounded:\n")
    print(table(first_tokens(calibration, measured)))


if __name__ == "__main__":
    main()
