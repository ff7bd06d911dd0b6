"""Measures throughput and latency of one unit at one concurrency after the other, in repeats."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.client import Asking, Client, ServerError, first_model, open_session
from bench.closedloop import ClosedLoop, Point, Shape
from bench.lag import ClientLoad, LagMeter, client_load
from bench.openloop import RunClock
from bench.prompts import PromptMaker, Ratio, measured_ratio

Say = Callable[[str], None]
# What a chat template may add to a prompt.
_TEMPLATE_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Sweep:
    """Everything that decides what is sent. Times are in seconds of life.

    Each client's requests are counted `per_client` times, or as often as `at_least` for all
    clients together asks for. `concurrencies` are those of each class.
    """

    url: str
    shapes: tuple[Shape, ...]
    concurrencies: Mapping[str, tuple[int, ...]]
    repeats: int = 3
    per_client: int = 2
    at_least: int = 6
    model: str | None = None
    seed: int = 1
    timeout_s: float = 1800.0
    speed: float = 1.0

    def counted_per_client(self, concurrency: int) -> int:
        return max(self.per_client, -(-self.at_least // concurrency))


@dataclass(frozen=True, slots=True)
class Swept:
    """What was measured, of which model, and how far the client itself kept up."""

    model: str
    points: list[Point]
    client: ClientLoad
    interrupted: bool


async def sweep(wanted: Sweep, say: Say, api_key: str = "") -> Swept:
    """Measure all points. SIGINT ends it early, and keeps what was measured.

    Raises ServerError for a unit that cannot be asked or whose context is too short.
    """
    timeout_s = wanted.timeout_s / wanted.speed
    async with open_session(timeout_s=timeout_s, api_key=api_key) as session:
        listed = await first_model(session, wanted.url)
        _check_lengths(wanted.shapes, listed)
        model = wanted.model or str(listed["id"])
        ratio = await measured_ratio(session, wanted.url, model)
        clock, meter, over = RunClock(wanted.speed), LagMeter(wanted.speed), asyncio.Event()
        client = Client(
            session,
            Asking(model),
            prompt=PromptMaker(wanted.seed, ratio).prompt,
            clock=clock,
            speed=wanted.speed,
        )
        say(f"{model} at {wanted.url}, {(ratio or Ratio()).tokens_per_word:.3g} tokens per word")
        metering = asyncio.create_task(meter.run(over))
        points: list[Point] = []
        measuring = asyncio.create_task(_measure(wanted, client, clock, points, say))
        interrupted = await _ended(measuring)
        over.set()
        await metering
    return Swept(model, points, client_load(meter, []), interrupted)


def result(wanted: Sweep, swept: Swept) -> dict[str, Any]:
    """The measured part of a result file."""
    return {
        "arguments": asdict(wanted),
        "model": swept.model,
        "interrupted": swept.interrupted,
        "client": {**asdict(swept.client), "warnings": swept.client.warnings()},
        "points": [point.as_json() for point in swept.points],
    }


def read_points(found: Mapping[str, Any]) -> list[Point]:
    """The points of a result file, or of a file of measurements with a `knee` list.

    Raises KeyError or TypeError for anything else.
    """
    if "knee" in found:
        return [
            Point(
                size_class=str(row["class"]),
                concurrency=int(row["c"]),
                repeat=1,
                requests=int(row["n"]),
                requests_per_s=float(row["req_s"]),
                output_tokens_per_s=float(row["tok_s"]),
                ttft_s={"p50": row["ttft50"], "p99": row["ttft99"]},
                tpot_s={"p50": row["tpot50"]},
                e2e_s={"p50": row["e2e50"]},
            )
            for row in found["knee"]
        ]
    return [Point(**point) for point in found["points"]]


def plan(concurrencies: Sequence[int], repeats: int) -> Iterator[tuple[int, int]]:
    """Repeat and concurrency, in turn up and down: what drifts meets both ends alike."""
    upward = sorted(set(concurrencies))
    for repeat in range(1, repeats + 1):
        for concurrency in upward if repeat % 2 else reversed(upward):
            yield repeat, concurrency


async def _measure(
    wanted: Sweep, client: Client, clock: RunClock, points: list[Point], say: Say
) -> None:
    index = 0
    for shape in wanted.shapes:
        most = max(wanted.concurrencies[shape.size_class])
        for repeat, concurrency in plan(wanted.concurrencies[shape.size_class], wanted.repeats):
            if concurrency > most:
                continue
            loop = ClosedLoop(client, clock, wanted.url, shape, index)
            point = await loop.run(concurrency, wanted.counted_per_client(concurrency), repeat)
            index = loop.next_index
            points.append(point)
            say(line(point, wanted.repeats))
            if point.failure:
                # More at a time would fail as well.
                most = concurrency - 1


async def _ended(measuring: asyncio.Task[None]) -> bool:
    """Wait for the end; whether SIGINT made it."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((measuring, stopping), return_when=asyncio.FIRST_COMPLETED)
        if measuring.done():
            measuring.result()
            return False
        measuring.cancel()
        await asyncio.wait((measuring,))
        return True
    finally:
        stopping.cancel()
        loop.remove_signal_handler(signal.SIGINT)


def line(point: Point, repeats: int) -> str:
    """One point in words."""
    where = f"{point.size_class:5} {point.concurrency:4} at a time, {point.repeat}/{repeats}"
    if point.failure or point.requests_per_s is None:
        return f"{where}: a request ended as {point.failure}; the sweep goes no further up"
    times = ", ".join(
        f"{name} {_figure(spread.get('p50'), factor, unit)}"
        for name, spread, factor, unit in (
            ("TTFT", point.ttft_s, 1.0, "s"),
            ("TPOT", point.tpot_s, 1000.0, "ms"),
            ("E2E", point.e2e_s, 1.0, "s"),
        )
    )
    return (
        f"{where}: {point.requests_per_s:.3f} req/s, {point.output_tokens_per_s:.0f} tok/s;"
        f" p50 {times}; {point.prompt_tokens} tokens in"
    )


def _figure(value: float | None, factor: float, unit: str) -> str:
    return "-" if value is None else f"{value * factor:.3g} {unit}"


def _check_lengths(shapes: Sequence[Shape], listed: Mapping[str, Any]) -> None:
    most = listed.get("max_model_len")
    for shape in shapes:
        needed = shape.prompt_tokens + shape.output_tokens + _TEMPLATE_TOKENS
        if most is not None and needed > int(most):
            raise ServerError(
                f"{shape.size_class} requests need {needed} tokens and the model takes {most}:"
                f" give --{shape.size_class} with fewer"
            )
