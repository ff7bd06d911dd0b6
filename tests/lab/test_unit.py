"""A unit on virtual time steps as the simulator's own replay does."""

from collections.abc import Sequence

import pytest

from lab.agenda import Agenda
from lab.unit import VirtualUnit
from simulator.costs import CostModel, read_calibration
from simulator.engine import Sequence as Prompt
from simulator.engine import State
from simulator.replay import prefill_ttft_s

CALIBRATION = read_calibration()


class Bench:
    """A unit, and what it told."""

    def __init__(self) -> None:
        self.agenda = Agenda()
        self.tokens: list[tuple[float, Prompt]] = []
        self.unit = VirtualUnit(self.agenda, CostModel(CALIBRATION), self._told)

    async def _told(self, emitted: Sequence[Prompt]) -> None:
        self.tokens += [(self.agenda.now_s, prompt) for prompt in emitted]

    async def run(self) -> None:
        await self.agenda.run(lambda: False)


@pytest.mark.parametrize("tokens", [128, 1024, 16_384])
async def test_a_prompt_alone_takes_what_the_replay_says(tokens: int) -> None:
    bench = Bench()
    bench.unit.add(Prompt(tokens, 3))
    await bench.run()
    assert bench.tokens[0][0] == pytest.approx(prefill_ttft_s(CALIBRATION, tokens))
    assert len(bench.tokens) == 3


async def test_a_unit_that_was_idle_starts_again() -> None:
    bench = Bench()
    bench.unit.add(Prompt(100, 2))
    await bench.run()
    idle_since_s = bench.agenda.now_s
    bench.unit.add_after(5, Prompt(100, 2))
    await bench.run()
    assert bench.tokens[2][0] > idle_since_s + 5


@pytest.mark.parametrize("when_s", [0.0, 0.5, 2.0])
async def test_an_aborted_prompt_gets_no_more_tokens(when_s: float) -> None:
    """On its way, while it waits behind another, and while it runs."""
    bench = Bench()
    long, prompt = Prompt(8000, 2), Prompt(100, 500)
    bench.unit.add(long)
    bench.unit.add_after(0.1, prompt)

    async def abort() -> None:
        bench.unit.abort(prompt)

    bench.agenda.at(when_s, abort)
    await bench.run()
    assert prompt.state is State.ABORTED
    assert all(at_s <= when_s for at_s, who in bench.tokens if who is prompt)
    assert long.state is State.FINISHED
