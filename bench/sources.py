"""Where a load comes from: traces, Poisson streams and bursts, each from one text."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.arrivals import OnOff, Poisson, Process
from bench.lengths import Lengths, read_lengths
from bench.spec import Spec, SpecError, count, number, positive, read_spec, share
from bench.traces import AZURE, MOONCAKE, UNITS, Columns, read_trace
from bench.workload import Arrival

_FOR_EVER_S = float("inf")
_MOONCAKE_LUMP_S = 3.0


class Source(Protocol):
    """A named stream of arrivals, the same for the same seed."""

    @property
    def name(self) -> str: ...

    def arrivals(self, seed: int, duration_s: float) -> Iterator[Arrival]:
        """All arrivals before `duration_s`, in any order. Raises TraceError."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """When on the run's clock a source starts, and for how long it sends."""

    after_s: float = 0.0
    for_s: float = _FOR_EVER_S

    def length_s(self, duration_s: float) -> float:
        return min(self.for_s, duration_s - self.after_s)


@dataclass(frozen=True, slots=True)
class Generated:
    """Arrivals of a process, with lengths of distributions."""

    name: str
    process: Process
    prompt: Lengths
    output: Lengths
    span: Span = Span()

    def arrivals(self, seed: int, duration_s: float) -> Iterator[Arrival]:
        # Each draws from dice of its own: other lengths then leave the times as they are.
        times, lengths = (random.Random(f"{seed}:{self.name}:{of}") for of in ("times", "lengths"))
        for at_s in self.process.times_s(times, self.span.length_s(duration_s)):
            prompt, output = self.prompt(lengths), self.output(lengths)
            yield Arrival(at_s + self.span.after_s, prompt, output, self.name)


@dataclass(frozen=True, slots=True)
class Trace:
    """Rows of a log, from `skip_s` on, played `scale` times as fast.

    Some logs write arrivals down in lumps of `lump_s`: each is moved later by a random part of it.
    Of the rows with a prompt from `min_tokens` to `max_tokens` a random share `thin` is kept.
    """

    name: str
    path: Path
    columns: Columns
    skip_s: float = 0.0
    scale: float = 1.0
    lump_s: float = 0.0
    thin: float = 1.0
    min_tokens: int = 0
    max_tokens: int | None = None
    span: Span = Span()

    def arrivals(self, seed: int, duration_s: float) -> Iterator[Arrival]:
        # Both draws are made for every row: its fate depends on nothing but seed and place.
        dice = random.Random(f"{seed}:{self.name}")
        end_s = self.span.length_s(duration_s)
        for row in read_trace(self.path, self.columns):
            delay_s, kept = dice.random() * self.lump_s, dice.random() < self.thin
            at_s = (row.at_s + delay_s - self.skip_s) / self.scale
            if kept and 0 <= at_s < end_s and self._fits(row.prompt_tokens):
                # A prompt or an answer of no tokens cannot be asked for.
                prompt, output = max(1, row.prompt_tokens), max(1, row.output_tokens)
                yield Arrival(at_s + self.span.after_s, prompt, output, self.name)

    def _fits(self, tokens: int) -> bool:
        return self.min_tokens <= tokens and (self.max_tokens is None or tokens <= self.max_tokens)


def read_sources(texts: list[str]) -> list[Source]:
    """Sources of different names. Raises SpecError."""
    found: list[Source] = []
    for text in texts:
        source = read_source(text)
        if source.name in {other.name for other in found}:
            raise SpecError(f"two sources are called {source.name}; name= gives another")
        found.append(source)
    return found


def read_source(text: str) -> Source:
    """A source such as `poisson,rate=2,prompt=600,output=uniform(50,150)`. Raises SpecError."""
    spec = read_spec(text)
    make = _KINDS.get(spec.kind)
    if make is None:
        raise spec.wrong(f"there is no kind {spec.kind}; there is {', '.join(_KINDS)}")
    source = make(spec)
    spec.end()
    return source


def _span(spec: Spec) -> Span:
    return Span(spec.take("after-s", number, 0.0), spec.take("for-s", positive, _FOR_EVER_S))


def _generated(spec: Spec, process: Process) -> Source:
    if spec.target:
        raise spec.wrong(f"{spec.kind} takes no file")
    prompt, output = spec.need("prompt", read_lengths), spec.need("output", read_lengths)
    return Generated(spec.take("name", str, spec.kind), process, prompt, output, _span(spec))


def _poisson(spec: Spec) -> Source:
    return _generated(spec, Poisson(spec.need("rate", positive)))


def _on_off(spec: Spec) -> Source:
    process = OnOff(
        rate_per_s=spec.need("rate", positive),
        on_s=spec.need("on-s", positive),
        off_s=spec.need("off-s", positive),
        off_rate_per_s=spec.take("off-rate", number, 0.0),
        random_periods=spec.take("periods", _one_of("fixed", "random"), "fixed") == "random",
    )
    return _generated(spec, process)


def _trace(columns: Columns | None, lump_s: float = 0.0) -> Callable[[Spec], Source]:
    def make(spec: Spec) -> Source:
        if not spec.target:
            raise spec.wrong(f"{spec.kind}: needs a file, as {spec.kind}:FILE")
        return Trace(
            name=spec.take("name", str, spec.kind),
            path=Path(spec.target).expanduser(),
            columns=columns or _columns(spec),
            skip_s=spec.take("skip-s", number, 0.0),
            scale=spec.take("scale", positive, 1.0),
            lump_s=spec.take("lump-s", number, lump_s),
            thin=spec.take("thin", share, 1.0),
            min_tokens=spec.take("min-tokens", count, 0),
            max_tokens=spec.take("max-tokens", count, None),
            span=_span(spec),
        )

    return make


def _columns(spec: Spec) -> Columns:
    return Columns(
        time=spec.need("time", str),
        prompt=spec.need("prompt", str),
        output=spec.need("output", str),
        unit=spec.take("unit", _one_of(*UNITS), "s"),
    )


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"not one of {', '.join(words)}")
        return text

    return parse


_KINDS: dict[str, Callable[[Spec], Source]] = {
    "azure": _trace(AZURE),
    "mooncake": _trace(MOONCAKE, _MOONCAKE_LUMP_S),
    "trace": _trace(None),
    "poisson": _poisson,
    "onoff": _on_off,
}
