"""Duties: they survive an outage of Redis, end on anything else, and stop when told."""

import asyncio

import pytest

from common.connection import RedisUnavailable
from common.duty import REDIS_OUTAGES, Backoff, run_duty, sleep_or_stop


def outages(duty: str) -> float:
    counted: float = REDIS_OUTAGES.labels(duty)._value.get()
    return counted


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(first_s=1.0, longest_s=8.0)
    for full_s in (1, 2, 4, 8, 8, 8):
        assert full_s / 2 <= backoff.failed() <= full_s


def test_a_success_begins_the_waits_anew() -> None:
    backoff = Backoff(first_s=1.0, longest_s=8.0)
    for _ in range(5):
        backoff.failed()
    backoff.succeeded()
    assert backoff.failed() <= 1.0


def test_waits_stay_finite_however_long_redis_is_away() -> None:
    backoff = Backoff()
    assert all(backoff.failed() <= 2.0 for _ in range(3000))


async def test_sleep_ends_with_stop_or_with_its_time() -> None:
    stop = asyncio.Event()
    assert not await sleep_or_stop(stop, 0.0)
    asyncio.get_running_loop().call_soon(stop.set)
    assert await sleep_or_stop(stop, 60.0)
    assert await sleep_or_stop(stop, 60.0)


async def test_a_duty_steps_until_it_is_told_to_stop() -> None:
    stop = asyncio.Event()
    steps = []

    async def step() -> None:
        steps.append(1)
        if len(steps) == 3:
            stop.set()

    await run_duty("steps", step, stop)
    assert len(steps) == 3


async def test_a_duty_that_is_told_to_stop_before_it_starts_does_nothing() -> None:
    stop = asyncio.Event()
    stop.set()

    async def step() -> None:
        raise AssertionError

    await run_duty("never", step, stop)


async def test_a_stop_ends_the_wait_between_two_steps() -> None:
    stop = asyncio.Event()

    async def step() -> None:
        asyncio.get_running_loop().call_soon(stop.set)

    async with asyncio.timeout(20):
        await run_duty("waits", step, stop, every_s=3600)


async def test_a_duty_survives_an_outage_and_counts_it() -> None:
    stop = asyncio.Event()
    answers = [RedisUnavailable("away"), RedisUnavailable("away"), None]

    async def step() -> None:
        answer = answers.pop(0)
        if answer:
            raise answer
        stop.set()

    before = outages("survivor")
    await run_duty("survivor", step, stop)
    assert (answers, outages("survivor") - before) == ([], 2)


async def test_any_other_fault_ends_the_duty() -> None:
    async def step() -> None:
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        await run_duty("mistaken", step, asyncio.Event())
