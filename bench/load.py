"""A load as the command line describes it, and the requests that it becomes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.rows import Order, Row
from bench.sources import read_sources
from bench.workload import Arrival, Limits, Oversize, Workload, merged


@dataclass(frozen=True, slots=True)
class Load:
    """Everything that decides which requests come when; the same gives the same, always."""

    sources: tuple[str, ...]
    duration_s: float = 60.0
    seed: int = 1
    long_threshold_tokens: int = 4096
    max_prompt_tokens: int | None = None
    oversize: Oversize = Oversize.CLAMP

    def check(self) -> None:
        """Raises SpecError for a source that cannot be."""
        read_sources(list(self.sources))

    def workload(self, total_tokens: int | None = None) -> Workload:
        """The load for a model of this context length. Raises SpecError, TraceError."""
        return merged(
            self._arrivals(),
            limits=Limits(self.max_prompt_tokens, total_tokens),
            oversize=self.oversize,
        )

    def class_of(self, prompt_tokens: int) -> str:
        return "long" if prompt_tokens >= self.long_threshold_tokens else "short"

    def planned(self, work: Workload, urls: Sequence[str], lead_s: float = 0.0) -> list[Row]:
        """One row per arrival, sent to the URLs in turn, all `lead_s` later than the load says."""
        return [
            Row(
                Order(
                    index=index,
                    source=one.source,
                    size_class=self.class_of(one.prompt_tokens),
                    url=urls[index % len(urls)],
                    intended_s=one.at_s + lead_s,
                    prompt_tokens=one.prompt_tokens,
                    output_tokens=one.output_tokens,
                )
            )
            for index, one in enumerate(work.arrivals)
        ]

    def _arrivals(self) -> Iterator[Arrival]:
        for source in read_sources(list(self.sources)):
            yield from source.arrivals(self.seed, self.duration_s)
