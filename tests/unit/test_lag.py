"""The lag of the event loop, as the metrics show it."""

import asyncio
import time

from prometheus_client import REGISTRY

from common.lag import LagMeter


def measured(name: str) -> float:
    return REGISTRY.get_sample_value(f"adasplit_event_loop_lag_seconds_{name}") or 0.0


async def test_a_loop_that_is_held_up_shows_as_lag() -> None:
    seen, late_s = measured("count"), measured("sum")
    stop = asyncio.Event()
    metering = asyncio.create_task(LagMeter().run(stop))
    await asyncio.sleep(0)
    time.sleep(0.4)  # noqa: ASYNC251  # what is measured
    async with asyncio.timeout(30):
        while measured("count") < seen + 2:  # noqa: ASYNC110  # a metric sets no event
            await asyncio.sleep(0.01)
    assert measured("sum") - late_s > 0.1
    stop.set()
    await metering
    over = measured("count")
    await asyncio.sleep(0.3)
    assert measured("count") == over
