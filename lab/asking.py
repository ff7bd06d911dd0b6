"""One request under way in the lab, and the row of the result that it fills."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.rows import Row
from common.keys import JobClass
from simulator.engine import Sequence as Prompt


@dataclass(eq=False, slots=True)
class Asking:
    """A row with its place in an engine. Times are virtual seconds since the start.

    `path_s` is what a request, and each token of its answer, spends between client and unit.
    """

    row: Row
    path_s: float
    on_end: Callable[[], None] = lambda: None
    prompt: Prompt = field(init=False)
    attempt: int = 0
    worst_gap_s: float | None = None

    def __post_init__(self) -> None:
        self.row.sent_s = self.row.order.intended_s
        self.renew()

    @property
    def job(self) -> str:
        return f"job-{self.row.order.index}"

    @property
    def job_class(self) -> JobClass:
        return "long" if self.row.order.size_class == "long" else "short"

    @property
    def over(self) -> bool:
        return self.row.outcome is not None

    def renew(self) -> None:
        """A fresh sequence: an attempt that was given back starts again from nothing."""
        order = self.row.order
        self.prompt = Prompt(order.prompt_tokens, order.output_tokens, owner=self)
        self.worst_gap_s = None

    def placed(self, unit: str, at_s: float, attempt: int = 1) -> None:
        """A unit has it from now on."""
        self.attempt = attempt
        self.row.queue_s = at_s - self.row.order.intended_s
        self.row.headers |= {"unit": unit, "attempt": str(attempt), "class": self.job_class}

    def wrote(self) -> None:
        """Its sequence has got a token."""
        self.row.token_events += 1
        if self.prompt.generated_tokens > 1:
            self.worst_gap_s = max(self.worst_gap_s or 0.0, self.prompt.gap_s)

    def answered(self) -> None:
        """Its sequence has got its last token."""
        prompt, row = self.prompt, self.row
        row.first_token_s = prompt.first_token_s + self.path_s
        gaps = prompt.generated_tokens - 1
        row.tpot_s = (prompt.last_token_s - prompt.first_token_s) / gaps if gaps else None
        row.worst_gap_s = self.worst_gap_s
        row.prompt_tokens, row.output_tokens = prompt.prompt_tokens, prompt.generated_tokens
        self.ended("ok", prompt.last_token_s + self.path_s)

    def ended(self, outcome: str, at_s: float) -> None:
        """The one end of the request."""
        self.row.end(outcome, at_s)
        self.on_end()
