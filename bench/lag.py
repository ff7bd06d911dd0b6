"""Tells whether the client was the bottleneck: late sends, a late event loop, a full core."""

import asyncio
import time
from dataclasses import dataclass, field

from bench.stats import percentile

_TICK_S = 0.05
_LATE_SEND_S = 0.05
_LATE_LOOP_S = 0.05
_BUSY_SHARE = 0.85


@dataclass(slots=True)
class LagMeter:
    """Samples how late the event loop wakes, and the CPU that this process took.

    Lags are in seconds of life: at `speed` 10 a loop that is 5 ms late makes a time 50 ms wrong.
    """

    speed: float = 1.0
    samples_s: list[float] = field(default_factory=list)
    _cpu_start_s: float = field(default_factory=time.process_time)
    _start_s: float = field(default_factory=time.monotonic)

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            due_s = time.monotonic() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self.samples_s.append(max(0.0, time.monotonic() - due_s) * self.speed)

    def p99_s(self) -> float:
        return percentile(self.samples_s, 99) or 0.0

    def cpu_share(self) -> float:
        """CPU seconds of this process per second of wall time; 1.0 is one whole core."""
        elapsed_s = time.monotonic() - self._start_s
        return (time.process_time() - self._cpu_start_s) / elapsed_s if elapsed_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ClientLoad:
    """How far the measuring client kept up; its warnings are empty when the figures can be used."""

    send_lag_p50_s: float | None
    send_lag_p99_s: float | None
    send_lag_max_s: float | None
    loop_lag_p99_s: float
    cpu_share: float

    def warnings(self) -> list[str]:
        found = []
        if (self.send_lag_p99_s or 0.0) > _LATE_SEND_S:
            found.append(f"requests left late: p99 {(self.send_lag_p99_s or 0.0) * 1000:.0f} ms")
        if self.loop_lag_p99_s > _LATE_LOOP_S:
            found.append(f"the event loop woke late: p99 {self.loop_lag_p99_s * 1000:.0f} ms")
        if self.cpu_share > _BUSY_SHARE:
            found.append(f"the client used {self.cpu_share:.0%} of a core")
        return found


def client_load(meter: LagMeter, send_lags_s: list[float]) -> ClientLoad:
    return ClientLoad(
        send_lag_p50_s=percentile(send_lags_s, 50),
        send_lag_p99_s=percentile(send_lags_s, 99),
        send_lag_max_s=max(send_lags_s, default=None),
        loop_lag_p99_s=meter.p99_s(),
        cpu_share=meter.cpu_share(),
    )
