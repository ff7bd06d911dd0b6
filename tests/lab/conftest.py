"""Small loads for the lab, and what a play of them needs."""

from collections.abc import Mapping

from bench.contenders import read_contender
from bench.load import Load
from bench.result import Run
from common.settings import Settings
from lab.play import Play, play
from simulator.costs import read_calibration

CHATS = "poisson,name=chats,rate=4,prompt=lognormal(700,0.7),output=lognormal(100,0.6)"
DOCUMENTS = "poisson,name=documents,rate=0.2,prompt=uniform(6000,20000),output=60"
OBJECTIVES = {"short": {"ttft_s": 1.0, "tpot_s": 0.1}}
SLOTS = {"worker_concurrency_limit_short": "64", "worker_concurrency_limit_long": "4"}


async def played(
    system: str = "adasplit",
    *sources: str,
    duration_s: float = 40,
    units: int = 4,
    timeout_s: float = 600,
    **settings: str,
) -> Run:
    """A play of a small load on one system."""
    shared: Mapping[str, str] = SLOTS | settings
    contender = read_contender(system, shared, units)
    wanted = Play(
        load=Load(sources or (CHATS, DOCUMENTS), duration_s),
        contender=contender,
        settings=Settings(_env_file=None, **contender.settings),  # type: ignore[arg-type]  # pydantic reads the texts
        units=units,
        timeout_s=timeout_s,
        objectives=OBJECTIVES,
    )
    return await play(wanted, read_calibration())
