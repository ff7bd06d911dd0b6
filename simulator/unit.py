"""What one simulated unit consists of: engine, driver, metrics, faults and readiness."""

import time
from collections.abc import Callable
from typing import Any

from simulator.costs import CostModel
from simulator.driver import Driver
from simulator.engine import BLOCK_TOKENS, Engine, Limits
from simulator.faults import WHOLE_UNIT, Fault, Faults
from simulator.metrics import Metrics
from simulator.requests import Rules
from simulator.settings import Settings


class Unit:
    """Made inside the event loop it lives in; `drop` and `refuse` are the listener's."""

    def __init__(
        self,
        settings: Settings,
        *,
        drop: Callable[[Any], None],
        refuse: Callable[[float], None],
    ) -> None:
        calibration = settings.calibration
        limits = Limits(
            settings.kv_cache_tokens, settings.max_num_seqs, calibration.max_batched_tokens
        )
        engine = Engine(limits)
        self.speed = settings.speed
        self.drop = drop
        self._refuse = refuse
        self.started_s = int(time.time())
        self.rules = Rules(
            model=settings.model,
            max_model_len=settings.max_model_len,
            kv_cache_tokens=limits.blocks * BLOCK_TOKENS,
            seed=settings.seed,
        )
        self.faults = Faults(settings.seed)
        self.metrics = Metrics(settings.model, engine, settings.max_model_len, settings.speed)
        self.driver = Driver(engine, CostModel(calibration), self.metrics, speed=settings.speed)
        self._ready_at_s = self.driver.now_s + settings.start_s

    @property
    def ready(self) -> bool:
        return self.driver.now_s >= self._ready_at_s

    def set_fault(self, fault: Fault) -> None:
        """Rules for requests stay until they are used up or cleared; the others happen now."""
        if fault.kind not in WHOLE_UNIT:
            self.faults.rules.append(fault)
            return
        seconds = fault.seconds or 0.0
        match fault.kind:
            case "refuse":
                self._refuse(seconds / self.speed)
            case "unready":
                self._ready_at_s = self.driver.now_s + seconds
            case "freeze":
                self.driver.freeze(seconds)
