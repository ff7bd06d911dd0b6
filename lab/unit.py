"""One unit on virtual time: the simulator's engine and costs, stepped as its driver steps them."""

from collections.abc import Awaitable, Callable, Sequence

from lab.agenda import Agenda
from simulator.costs import Calibration, CostModel
from simulator.engine import Engine, Limits, State, Step
from simulator.engine import Sequence as Prompt

Told = Callable[[Sequence[Prompt]], Awaitable[None]]


class VirtualUnit:
    """Tells `told` of every step which sequences got a token, at the time they got it."""

    def __init__(self, agenda: Agenda, costs: CostModel, told: Told) -> None:
        self._agenda = agenda
        self._costs = costs
        self._told = told
        self._engine = _engine(costs.calibration)
        self._runs = False

    def fits(self, prompt_tokens: int, output_tokens: int) -> bool:
        """Whether such a request could ever be answered."""
        return self._engine.fits(prompt_tokens, output_tokens)

    def add(self, prompt: Prompt) -> None:
        self._engine.add(prompt, self._agenda.now_s)
        if not self._runs:
            self._runs = True
            # A burst gathers before the first step of an idle unit, as in the driver.
            self._agenda.after(self._costs.calibration.frontend_s, self._start_step)

    def add_after(self, wait_s: float, prompt: Prompt) -> None:
        """Add it when it has come all the way, unless it was aborted meanwhile."""

        async def arrive() -> None:
            if prompt.state is not State.ABORTED:
                self.add(prompt)

        self._agenda.after(wait_s, arrive)

    def abort(self, prompt: Prompt) -> None:
        """Also while it is on its way, or when it has ended."""
        if prompt in self._engine.waiting or prompt.state is State.RUNNING:
            self._engine.abort(prompt)
        elif prompt.state is State.WAITING:
            prompt.state = State.ABORTED

    async def _start_step(self) -> None:
        self._plan_step()

    def _plan_step(self) -> None:
        if self._engine.idle:
            self._runs = False
            return
        step = self._engine.schedule(self._agenda.now_s)

        async def end() -> None:
            await self._end_step(step)

        self._agenda.after(self._costs.step_s(step.load), end)

    async def _end_step(self, step: Step) -> None:
        emitted = self._engine.complete(step, self._agenda.now_s)
        await self._told(emitted)
        self._plan_step()


def _engine(calibration: Calibration) -> Engine:
    return Engine(
        Limits(calibration.kv_cache_tokens, max_batched_tokens=calibration.max_batched_tokens)
    )
