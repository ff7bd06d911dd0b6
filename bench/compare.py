"""`adasplit bench compare`: the same load on several systems, each on units just started."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
import uvloop

from bench import fleet, options, play, report
from bench.command import failures_in_one_line
from bench.contenders import Contender, read_contenders
from bench.result import write_result
from bench.table import in_a_line
from bench.workload import Oversize
from cli.checks import check_ports, read_units
from cli.program import Layout

_OBJECTIVES = ["short:ttft=1,tpot=0.1", "long:e2e=60"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The contenders, the units they all get, and the load that they all meet."""

    contenders: list[Contender]
    layout: Layout
    wanted: play.Play
    folder: Path

    async def run(self, say: Callable[[str], None]) -> list[dict[str, Any]]:
        """The results, in order; one that was interrupted is the last. Raises ServerError."""
        results: list[dict[str, Any]] = []
        for number, contender in enumerate(self.contenders, start=1):
            say(f"\n{number}/{len(self.contenders)} {contender.name}")
            name = f"{number:02}-{slug(contender.name)}"
            result = await self._measured(contender, self._logs(name), say)
            write_result(self.folder / f"{name}.json", result)
            results.append(result)
            say(in_a_line(result))
            if result["interrupted"]:
                break
        return results

    def _logs(self, name: str) -> Path:
        folder = self.folder / "logs" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def _measured(
        self, contender: Contender, logs: Path, say: Callable[[str], None]
    ) -> dict[str, Any]:
        layout = self.layout
        programs = layout.programs() if not layout.units else []
        groups = [[one for one in programs if one.stage == "units"]]
        if not contender.url:
            groups.append([contender.front(layout, logs)])
        wanted = replace(
            self.wanted,
            urls=(contender.url or layout.url,),
            watch=not contender.url,
            metrics=contender.metrics(layout),
        )
        units = len(layout.unit_urls)
        async with fleet.running(groups, contender.environment(wanted.speed), logs):
            if not contender.url:
                async with aiohttp.ClientSession() as session:
                    await fleet.until_all_live(session, layout.url, units)
            done = await play.run(wanted, say, contender.system(units))
        return done.result()


def compare(
    *,
    systems: Annotated[
        list[str],
        typer.Argument(
            metavar="SYSTEM…",
            help="adasplit, static:SHORT/LONG, round-robin, least-in-flight, fifo, each with"
            " :setting=value,…; or NAME=URL. NAME= may stand before any.",
        ),
    ],
    source: options.Sources,
    out: options.OutFolder,
    settings: options.SettingsOfAll = None,
    units: Annotated[int, typer.Option(min=1, help="How many units to simulate.")] = 4,
    unit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help="A unit that runs already; repeatable."),
    ] = None,
    speed: options.Speed = 1,
    duration_s: options.DurationS = 60,
    seed: options.Seed = 1,
    objective: options.Objective = None,
    long_threshold_tokens: options.LongThresholdTokens = 4096,
    max_prompt_tokens: options.MaxPromptTokens = None,
    oversize: options.HowOversize = Oversize.CLAMP,
    say_class: Annotated[
        bool, typer.Option(help="Tell each system the class: none is judged by its estimate.")
    ] = True,
    retries: options.Retries = 0,
    timeout_s: options.TimeoutS = 600,
    title: Annotated[str, typer.Option(help="Of the report.")] = "Comparison",
    port: Annotated[int, typer.Option(help="Port of the system under test.")] = 8000,
    unit_port: Annotated[int, typer.Option(help="Port of the first simulated unit.")] = 8001,
    admin_port: Annotated[int, typer.Option(help="Port of the scaler's pages.")] = 9100,
) -> None:
    """Start each system in turn on fresh units, send all the same load, and write one report."""
    with failures_in_one_line():
        given = read_units(unit or [])
        layout = Layout(
            port=port,
            unit_port=unit_port,
            admin_port=admin_port,
            simulated=units,
            speed=speed,
            units=given or None,
            # Nobody looks, and it would take its share of the machine.
            dashboard_port=0,
        )
        contenders = read_contenders(systems, settings or [], len(layout.unit_urls))
        check_ports(layout)
        wanted = play.Play(
            urls=(layout.url,),
            load=options.load(
                source, duration_s, seed, long_threshold_tokens, max_prompt_tokens, oversize
            ),
            objectives=options.objectives(objective or _OBJECTIVES),
            say_class=say_class,
            retries=retries,
            timeout_s=timeout_s,
            speed=speed,
        )
        out.mkdir(parents=True, exist_ok=True)
        results = uvloop.run(Comparison(contenders, layout, wanted, out).run(typer.echo))
        report.write(results, out, title)


def slug(name: str) -> str:
    """A name as a part of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "system"
