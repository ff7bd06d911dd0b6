"""The protocols of the calibration measurements, replayed through the engine on virtual time."""

import dataclasses
import statistics

from simulator.costs import Calibration, CostModel
from simulator.engine import Engine, Limits, Sequence, State

_DECODED_TOKENS = 64
_STREAMS = 8
_STREAM_PROMPT_TOKENS = 512
_STREAM_OUTPUT_TOKENS = 300
_TOKENS_BEFORE_LONG_PROMPT = 100


@dataclasses.dataclass(frozen=True, slots=True)
class ClosedLoop:
    """What a closed loop measures."""

    wall_s: float
    tokens_per_s: float
    ttft_p50_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Interference:
    """What chats and a long prompt that joins them see."""

    ttft_s: float
    gap_p50_s: float
    gap_max_s: float


class VirtualUnit:
    """An engine whose clock jumps from step to step."""

    def __init__(self, calibration: Calibration) -> None:
        self._costs = CostModel(calibration)
        self.engine = Engine(
            Limits(calibration.kv_cache_tokens, max_batched_tokens=calibration.max_batched_tokens)
        )
        self.now_s = 0.0

    def add(self, prompt_tokens: int, output_tokens: int) -> Sequence:
        """Submits now; an idle unit starts only after the front end's time, as the driver does."""
        sequence = Sequence(prompt_tokens, output_tokens)
        idle = self.engine.idle
        self.engine.add(sequence, self.now_s)
        if idle:
            self.now_s += self._costs.calibration.frontend_s
        return sequence

    def step(self) -> list[Sequence]:
        """Runs one step; returns who got a token."""
        step = self.engine.schedule(self.now_s)
        self.now_s += self._costs.step_s(step.load)
        return self.engine.complete(step, self.now_s)


def prefill_ttft_s(calibration: Calibration, prompt_tokens: int) -> float:
    """Seconds to the first token of one prompt alone."""
    unit = VirtualUnit(calibration)
    sequence = unit.add(prompt_tokens, 1)
    while sequence.state is not State.FINISHED:
        unit.step()
    return sequence.first_token_s - sequence.arrived_s


def decode_step_s(calibration: Calibration, context_tokens: int, batch: int) -> float:
    """Median gap between tokens after the last of the batch has got its first one."""
    unit = VirtualUnit(calibration)
    sequences = [unit.add(context_tokens, _DECODED_TOKENS) for _ in range(batch)]
    gaps: list[float] = []
    while not unit.engine.idle:
        all_decode = all(one.generated_tokens for one in sequences)
        emitted = unit.step()
        if all_decode:
            gaps.extend(one.gap_s for one in emitted)
    return statistics.median(gaps)


def interference(calibration: Calibration, prompt_tokens: int) -> Interference:
    """Eight chats decode; then a prompt of that length is prefilled beside them."""
    unit = VirtualUnit(calibration)
    chats = [unit.add(_STREAM_PROMPT_TOKENS, _STREAM_OUTPUT_TOKENS) for _ in range(_STREAMS)]
    while chats[0].generated_tokens < _TOKENS_BEFORE_LONG_PROMPT:
        unit.step()
    prompt = unit.add(prompt_tokens, 1)
    gaps: list[float] = []
    while not unit.engine.idle:
        gaps.extend(one.gap_s for one in unit.step() if one is not prompt)
    return Interference(prompt.first_token_s - prompt.arrived_s, statistics.median(gaps), max(gaps))


def closed_loop(
    calibration: Calibration, *, prompt_tokens: int, output_tokens: int, clients: int, requests: int
) -> ClosedLoop:
    """Each client sends its next request when its last is answered, until all are sent."""
    unit = VirtualUnit(calibration)
    sent = [unit.add(prompt_tokens, output_tokens) for _ in range(clients)]
    while not unit.engine.idle:
        for sequence in unit.step():
            if sequence.state is State.FINISHED and len(sent) < requests:
                sent.append(unit.add(prompt_tokens, output_tokens))
    ttfts_s = [one.first_token_s - one.arrived_s for one in sent]
    return ClosedLoop(unit.now_s, requests * output_tokens / unit.now_s, statistics.median(ttfts_s))
