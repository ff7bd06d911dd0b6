"""One run: a fleet, a load and faults for so many seconds, then the verdict."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.chaos.faults import KEYS, Faults
from tests.chaos.fleet import Fleet, answers
from tests.chaos.load import Load
from tests.chaos.verdict import (
    client_violations,
    job_violations,
    left_behind,
    outcomes,
    process_violations,
    recoveries,
)
from tests.chaos.watch import Watch

_READY_S = 60.0
_DRAINED_S = 90.0
_LOOKS = 20


@dataclass
class Report:
    """What a run did and found."""

    seed: int
    seconds: float
    requests: int
    jobs: int
    outcomes: Counter[str]
    faults: Counter[str]
    recovered_s: dict[str, list[float]]
    retried: int
    most_in_flight: int
    polls: int
    violations: list[str]

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {
            "recovered_s": {
                kind: {
                    "count": len(times),
                    "p50": round(median(times), 2),
                    "p100": round(max(times), 2),
                }
                for kind, times in self.recovered_s.items()
                if times
            }
        }


async def drive(seed: int, seconds: float, folder: Path, binary: str, per_second: float) -> Report:
    rng = random.Random(seed)
    fleet = Fleet(folder, binary)
    watch = Watch(fleet.client)
    faults = Faults(fleet, random.Random(rng.random()), seconds)
    try:
        await fleet.start()
        load = Load(fleet.gateway_urls, random.Random(rng.random()), per_second)
        await ready(fleet)
        await _run(fleet, load, faults, watch, seconds)
        violations = await _settled(fleet, watch)
        violations += process_violations(fleet)
    finally:
        await fleet.aclose()
    (folder / "events.json").write_text(json.dumps(watch.events, indent=0))
    (folder / "faults.json").write_text(json.dumps([vars(one) for one in faults.done], indent=0))
    violations += watch.violations + faults.broken
    violations += client_violations(load.results, faults.done)
    violations += job_violations(load.results, faults.done, watch)
    return Report(
        seed=seed,
        seconds=seconds,
        requests=len(load.results),
        jobs=len(watch.by_job()),
        outcomes=outcomes(load.results),
        faults=Counter(fault.kind for fault in faults.done),
        recovered_s=recoveries(faults.done, watch),
        retried=sum(result.refused for result in load.results),
        most_in_flight=watch.most_in_flight,
        polls=watch.polls,
        violations=violations,
    )


async def ready(fleet: Fleet) -> None:
    """Wait until every unit is in the pool and every gateway would be sent requests."""
    async with asyncio.timeout(_READY_S):
        while await fleet.client.zcard(KEYS.units) < len(fleet.units):  # noqa: ASYNC110  # units tell nobody here when they have come
            await asyncio.sleep(0.1)
        for url in fleet.gateway_urls:
            while not await _all_ready(url):  # noqa: ASYNC110  # nor do gateways
                await asyncio.sleep(0.1)


async def _all_ready(url: str) -> bool:
    """Several gateways may share a port: so many connections reach each of them."""
    for _ in range(_LOOKS):
        if not await answers(url, "/readyz"):
            return False
    return True


async def _run(fleet: Fleet, load: Load, faults: Faults, watch: Watch, seconds: float) -> None:
    no_more_faults, no_more_load, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(watch.run(done))
        group.create_task(_keep_up(fleet, faults, watch, done))
        loading = group.create_task(load.run(no_more_load))
        hurting = group.create_task(faults.run(no_more_faults))
        await asyncio.sleep(seconds)  # the length of the run
        no_more_faults.set()
        await hurting
        await asyncio.sleep(5)  # the load goes on for a while in peace
        no_more_load.set()
        await loading
        done.set()


async def _keep_up(fleet: Fleet, faults: Faults, watch: Watch, done: asyncio.Event) -> None:
    while not done.is_set():
        for member in fleet.members:
            member.notice()
        if any(fault.target == "redis" and not fault.ended_at for fault in faults.done):
            watch.forgive_roles()
        await asyncio.sleep(0.2)  # between two looks


async def _settled(fleet: Fleet, watch: Watch) -> list[str]:
    """Wait until nothing is left of the load; answers what stays."""
    end_s = time.monotonic() + _DRAINED_S
    while (left := await left_behind(fleet.client)) and time.monotonic() < end_s:  # noqa: ASYNC110  # Redis tells nobody when it is empty
        await asyncio.sleep(0.5)
    await watch.read_events()
    return left


def text(report: Report) -> str:
    """The report for people."""
    lines = [
        (
            f"seed {report.seed}: {report.requests} requests, {report.jobs} jobs in "
            f"{report.seconds:.0f} s, {sum(report.faults.values())} faults"
        ),
        (
            f"another gateway was tried {report.retried} times; most in flight on a unit "
            f"{report.most_in_flight} ({report.polls} looks)"
        ),
        "",
        "ended: " + ", ".join(f"{kind} {count}" for kind, count in report.outcomes.most_common()),
        "",
        f"{'fault':42} {'times':>5}  recovered: count, p50, p100 (s)",
    ]
    for kind, count in sorted(report.faults.items()):
        times = report.recovered_s.get(kind, [])
        took = f"{len(times):5}  {median(times):6.2f} {max(times):6.2f}" if times else ""
        lines.append(f"{kind:42} {count:5}  {took}")
    lines += ["", f"violations: {len(report.violations)}", *report.violations[:50]]
    return "\n".join(lines)
