"""`adasplit lab`: the same load on several systems, on virtual time, with one report."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from pydantic import ValidationError

from bench import options, report
from bench.command import failures_in_one_line
from bench.compare import slug
from bench.contenders import Contender, read_contenders
from bench.result import write_result
from bench.spec import SpecError
from bench.workload import Oversize
from common.settings import Settings
from lab.play import Play, play
from simulator.costs import DEFAULT_CALIBRATION, Calibration, CalibrationError, read_calibration

_OBJECTIVES = ["short:ttft=1,tpot=0.1", "long:e2e=60"]


def lab(
    *,
    systems: Annotated[
        list[str],
        typer.Argument(
            metavar="SYSTEM…",
            help="adasplit, static:SHORT/LONG, round-robin, least-in-flight, fifo, each with"
            " :setting=value,…; NAME= may stand before any.",
        ),
    ],
    source: options.Sources,
    out: options.OutFolder,
    settings: options.SettingsOfAll = None,
    units: Annotated[int, typer.Option(min=1, help="How many units there are.")] = 4,
    calibration: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="What the units' steps cost.")
    ] = DEFAULT_CALIBRATION,
    path_ms: Annotated[
        float, typer.Option(min=0, help="Way of a request, and of an answer, beside the queue.")
    ] = 2,
    duration_s: options.DurationS = 60,
    seed: options.Seed = 1,
    objective: options.Objective = None,
    long_threshold_tokens: options.LongThresholdTokens = 4096,
    max_prompt_tokens: options.MaxPromptTokens = None,
    oversize: options.HowOversize = Oversize.CLAMP,
    timeout_s: options.TimeoutS = 600,
    title: Annotated[str, typer.Option(help="Of the report.")] = "Comparison in the lab",
) -> None:
    """Play a load on each system without any time passing, and write one report."""
    with failures_in_one_line():
        load = options.load(
            source, duration_s, seed, long_threshold_tokens, max_prompt_tokens, oversize
        )
        plays = [
            Play(
                load=load,
                contender=contender,
                settings=_settings(contender),
                units=units,
                path_s=path_ms / 1000,
                timeout_s=timeout_s,
                objectives=options.objectives(objective or _OBJECTIVES),
            )
            for contender in _contenders(systems, settings or [], units)
        ]
        out.mkdir(parents=True, exist_ok=True)
        results = _played(plays, _calibration(calibration), out, typer.echo)
        report.write(results, out, title)


def _contenders(systems: Sequence[str], settings: Sequence[str], units: int) -> list[Contender]:
    found = read_contenders(systems, settings, units)
    for contender in found:
        if contender.url:
            raise SpecError(f"{contender.name}: no time passes in the lab, so it reaches no URL")
    return found


def _settings(contender: Contender) -> Settings:
    """Those of the environment, and over them the system's own. Raises SpecError."""
    try:
        return Settings(**contender.settings)  # type: ignore[arg-type]  # pydantic reads the texts
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"])
        raise SpecError(f"{contender.name}: setting {name}: {first['msg']}") from error


def _calibration(path: Path) -> Calibration:
    try:
        return read_calibration(path)
    except CalibrationError as error:
        raise SpecError(str(error)) from error


def _played(
    plays: Sequence[Play], calibration: Calibration, folder: Path, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    results = []
    for number, one in enumerate(plays, start=1):
        begun_s = time.monotonic()
        result = uvloop.run(play(one, calibration)).result()
        name = one.contender.name
        write_result(folder / f"{number:02}-{slug(name)}.json", result)
        results.append(result)
        played_s = result["span_s"]
        say(f"{name}: {played_s:.0f} s played in {time.monotonic() - begun_s:.0f} s")
    return results
