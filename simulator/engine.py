"""Continuous batching with chunked prefill as vLLM V1 schedules it, on whatever clock drives it."""

import dataclasses
import enum
from collections import deque
from typing import Any

from simulator.costs import StepLoad

BLOCK_TOKENS = 16


class State(enum.Enum):
    """Where a sequence stands; a preempted one waits again."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    ABORTED = "aborted"


@dataclasses.dataclass(eq=False, slots=True)
class Sequence:
    """One prompt and the answer being written to it."""

    prompt_tokens: int
    output_tokens: int
    owner: Any = None
    """Whoever is told of its tokens; the engine only carries it."""
    state: State = State.WAITING
    computed_tokens: int = 0
    generated_tokens: int = 0
    blocks: int = 0
    preemptions: int = 0
    arrived_s: float = 0.0
    scheduled_s: float = -1.0
    first_token_s: float = -1.0
    last_token_s: float = -1.0
    gap_s: float = 0.0
    """Seconds between its two latest tokens."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.generated_tokens

    @property
    def decodes(self) -> bool:
        """All but its newest token is in the cache."""
        return self.generated_tokens > 0 and self.computed_tokens == self.total_tokens - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What the unit can hold and compute at a time."""

    kv_cache_tokens: int
    max_num_seqs: int = 256
    max_batched_tokens: int = 8192

    @property
    def blocks(self) -> int:
        return self.kv_cache_tokens // BLOCK_TOKENS


@dataclasses.dataclass(slots=True)
class Step:
    """One step as planned: how many tokens of which sequence, and what that costs."""

    chunks: list[tuple[Sequence, int]] = dataclasses.field(default_factory=list)
    load: StepLoad = dataclasses.field(default_factory=StepLoad)
    preempted: int = 0


def blocks_for(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS)


class Engine:
    """`add` and `abort` at any time; `schedule` plans a step, `complete` ends it.

    Times are the caller's. Between `schedule` and `complete` a sequence may be aborted: its blocks
    are free at once and the step goes on without it.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self.free_blocks = limits.blocks
        self._planned_s = 0.0

    @property
    def idle(self) -> bool:
        return not self.running and not self.waiting

    @property
    def kv_usage(self) -> float:
        """Share of the cache in use, 0 to 1."""
        return 1 - self.free_blocks / self.limits.blocks

    def fits(self, prompt_tokens: int, output_tokens: int) -> bool:
        """Whether such a sequence, alone, would ever finish."""
        return blocks_for(prompt_tokens + output_tokens) <= self.limits.blocks

    def add(self, sequence: Sequence, now_s: float) -> None:
        if not self.fits(sequence.prompt_tokens, sequence.output_tokens):
            raise ValueError("the sequence is longer than the whole KV cache")
        sequence.arrived_s = now_s
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence) -> bool:
        """False when it had already ended."""
        if sequence.state is State.RUNNING:
            self.running.remove(sequence)
        elif sequence.state is State.WAITING:
            self.waiting.remove(sequence)
        else:
            return False
        self._release(sequence)
        sequence.state = State.ABORTED
        return True

    def schedule(self, now_s: float) -> Step:
        """Running sequences first, in order of admission, then waiting ones, first come first.

        As in vLLM, a step that had to preempt admits nobody, and a step is planned while the one
        before it computes: who arrives in that time waits for the step after, unless all is idle.
        """
        step = Step()
        if not self.running:
            self._planned_s = now_s
        budget = self._schedule_running(step, self.limits.max_batched_tokens)
        if not step.preempted:
            self._admit(step, budget, now_s)
        self._planned_s = now_s
        return step

    def complete(self, step: Step, now_s: float) -> list[Sequence]:
        """The sequences that got a token, those that thereby finished among them."""
        emitted = []
        for sequence, tokens in step.chunks:
            if sequence.state is not State.RUNNING:
                continue
            sequence.computed_tokens += tokens
            if sequence.computed_tokens == sequence.total_tokens:
                self._emit(sequence, now_s)
                emitted.append(sequence)
        if any(sequence.state is State.FINISHED for sequence in emitted):
            self.running = [one for one in self.running if one.state is State.RUNNING]
        return emitted

    def _schedule_running(self, step: Step, budget: int) -> int:
        index = 0
        while index < len(self.running) and budget:
            sequence = self.running[index]
            tokens = min(sequence.total_tokens - sequence.computed_tokens, budget)
            while not self._reserve(sequence, tokens):
                step.preempted += 1
                if self._preempt_last() is sequence:
                    return budget
            self._plan(step, sequence, tokens)
            budget -= tokens
            index += 1
        return budget

    def _admit(self, step: Step, budget: int, now_s: float) -> None:
        while self.waiting and budget and len(self.running) < self.limits.max_num_seqs:
            sequence = self.waiting[0]
            if sequence.arrived_s > self._planned_s:
                return
            if blocks_for(sequence.total_tokens) > self.free_blocks:
                return
            tokens = min(sequence.total_tokens, budget)
            self._reserve(sequence, tokens)
            self.waiting.popleft()
            self.running.append(sequence)
            sequence.state = State.RUNNING
            if sequence.scheduled_s < 0:
                sequence.scheduled_s = now_s
            self._plan(step, sequence, tokens)
            budget -= tokens

    def _plan(self, step: Step, sequence: Sequence, tokens: int) -> None:
        step.chunks.append((sequence, tokens))
        if sequence.decodes:
            step.load.add_decode(sequence.total_tokens)
        else:
            step.load.add_prefill(tokens, sequence.computed_tokens)

    def _reserve(self, sequence: Sequence, tokens: int) -> bool:
        wanted = blocks_for(sequence.computed_tokens + tokens) - sequence.blocks
        if wanted > self.free_blocks:
            return False
        if wanted > 0:
            self.free_blocks -= wanted
            sequence.blocks += wanted
        return True

    def _release(self, sequence: Sequence) -> None:
        self.free_blocks += sequence.blocks
        sequence.blocks = 0

    def _preempt_last(self) -> Sequence:
        """Throws the youngest out of the cache; it computes everything again when it returns."""
        sequence = self.running.pop()
        self._release(sequence)
        sequence.computed_tokens = 0
        sequence.preemptions += 1
        sequence.state = State.WAITING
        self.waiting.appendleft(sequence)
        return sequence

    def _emit(self, sequence: Sequence, now_s: float) -> None:
        sequence.generated_tokens += 1
        if sequence.first_token_s < 0:
            sequence.first_token_s = now_s
        else:
            sequence.gap_s = now_s - sequence.last_token_s
        sequence.last_token_s = now_s
        if sequence.generated_tokens == sequence.output_tokens:
            sequence.state = State.FINISHED
            self._release(sequence)
