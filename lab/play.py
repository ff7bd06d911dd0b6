"""One load on one system, played on virtual time to its end."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from bench import timeline
from bench.contenders import Contender
from bench.load import Load
from bench.result import Run
from bench.rows import Row
from common.settings import Settings
from lab.adasplit import AdaSplit, for_the_lab
from lab.agenda import Agenda
from lab.asking import Asking
from lab.baselines import Baseline
from lab.server import server
from simulator.costs import Calibration, CostModel

MAX_MODEL_LEN = 131_072
_STARTED_AT = datetime(2000, 1, 1, tzinfo=UTC)
"""No real time passes in the lab, and two runs of one play are to be the same byte for byte."""


class _Tested(Protocol):
    """What a play speaks to. All that it answers goes into the rows."""

    async def start(self) -> None: ...

    async def end(self) -> None: ...

    async def submit(self, asking: Asking) -> None: ...

    async def cancel(self, asking: Asking) -> None: ...


@dataclass(frozen=True, slots=True)
class Play:
    """Everything that decides a run; `settings` are the contender's, checked.

    A request and each token of its answer spend `path_s` between client and unit. Who is not
    answered within `timeout_s` leaves.
    """

    load: Load
    contender: Contender
    settings: Settings
    units: int = 4
    path_s: float = 0.002
    timeout_s: float = 600.0
    objectives: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


async def play(wanted: Play, calibration: Calibration) -> Run:
    """Raises SpecError and TraceError for a load that cannot be read."""
    work = wanted.load.workload(MAX_MODEL_LEN)
    rows = wanted.load.planned(work, ["lab"])
    agenda, costs = Agenda(), CostModel(calibration)
    async with AsyncExitStack() as stack:
        tested = await _tested(wanted, agenda, costs, stack)
        await tested.start()
        await _play(wanted, agenda, tested, rows)
    return Run(
        system=wanted.contender.system(wanted.units),
        load=wanted.load,
        work=work,
        rows=rows,
        started_at=_STARTED_AT,
        model=calibration.name,
        objectives=wanted.objectives,
        arguments=_arguments(wanted, calibration),
        clock="virtual",
        watch=timeline.summary(tested.seen) if isinstance(tested, AdaSplit) else None,
        counters=_counters(tested, rows) if isinstance(tested, AdaSplit) else None,
    )


async def _tested(wanted: Play, agenda: Agenda, costs: CostModel, stack: AsyncExitStack) -> _Tested:
    names = [f"unit-{number}" for number in range(1, wanted.units + 1)]
    if wanted.contender.kind != "adasplit":
        return Baseline(agenda, costs, wanted.settings, names, wanted.contender)
    connection = await stack.enter_async_context(server())
    settings = for_the_lab(wanted.settings)
    return AdaSplit(agenda, costs, connection, settings, names, wanted.timeout_s)


async def _play(wanted: Play, agenda: Agenda, tested: _Tested, rows: list[Row]) -> None:
    open_rows = {row.order.index for row in rows}

    def send(row: Row) -> None:
        asking = Asking(row, wanted.path_s, on_end=lambda: open_rows.discard(row.order.index))

        async def arrive() -> None:
            agenda.after(wanted.timeout_s, leave)
            await tested.submit(asking)

        async def leave() -> None:
            if not asking.over:
                asking.ended("timeout", agenda.now_s)
                await tested.cancel(asking)

        agenda.at(row.order.intended_s, arrive)

    for row in rows:
        send(row)
    await agenda.run(lambda: not open_rows)
    await tested.end()


def _arguments(wanted: Play, calibration: Calibration) -> dict[str, Any]:
    return {
        "calibration": calibration.name,
        "path_s": wanted.path_s,
        "timeout_s": wanted.timeout_s,
    }


def _counters(tested: AdaSplit, rows: list[Row]) -> dict[str, Any]:
    """As a run of processes reads them from /metrics."""
    whys = [row.headers.get("why") for row in rows]
    steals = {why: whys.count(why) for why in ("stolen", "borrowed", "starved")}
    by_class = {
        name: sum(
            row.order.size_class == name and why in steals
            for row, why in zip(rows, whys, strict=True)
        )
        for name in ("short", "long")
    }
    by_role = {name: tested.flips[name] for name in ("short", "long")}
    return {
        "flips": sum(by_role.values()),
        "flips_by_role": by_role,
        "steals": sum(steals.values()),
        "steals_by_class": by_class,
        "steals_by_reason": steals,
        "stealing": {"revoked": tested.revoked, **asdict(tested.stealing)},
        "series": {},
        "unread": [],
    }
