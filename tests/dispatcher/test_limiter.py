"""Online limits of a running dispatcher: streams that are fast raise them, slow ones lower them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from common.models import ClaimedJob
from common.policy import Policy
from dispatcher.limiter import Limiter
from dispatcher.metrics import Metrics
from dispatcher.running import RunningJobs
from tests.dispatcher.conftest import Gateway, Pool, until
from tests.dispatcher.scripted import Call, event, when_released

ONLINE = {
    "slots": "online",
    "slots_interval_s": 0.1,
    "worker_concurrency_limit_short": 64,
    "claim_poll_s": 600.0,
}

LONG_STREAM = ClaimedJob(
    id="job", job_class="long", attempt=1, why="own", submitted_ms=0, claimed_ms=0,
    deadline_ms=600_000, gateway="gateway", route="/v1/completions", stream=True, body=b"",
)  # fmt: skip


def streaming(every_s: float) -> Callable[[Call], Awaitable[web.StreamResponse]]:
    """A unit that writes a token of each answer so often, and never ends."""

    async def answer(call: Call) -> web.StreamResponse:
        response = await call.stream(event("x" * 190))
        while True:
            await asyncio.sleep(every_s)  # the pace of a unit
            await response.write(event("x" * 190))

    return answer


async def test_a_unit_whose_streams_are_fast_holds_more_and_more(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(streaming(0.05))
    # So far below the objective that a slow machine does not reach it.
    dispatcher = await pool.dispatcher(unit, **ONLINE, slots_tpot_short_s=30.0)
    await gateway.submit_many(24)
    await until(lambda: unit.in_flight >= 8)
    await until(lambda: unit.in_flight == 24)
    assert dispatcher.metric("adasplit_online_limit_changes_total", to="up") >= 2
    assert dispatcher.metric("adasplit_online_limit_jobs", **{"class": "short"}) >= 24
    assert dispatcher.metric("adasplit_online_limit_jobs", **{"class": "long"}) == 0


async def test_a_unit_whose_streams_are_slow_holds_fewer_and_everybody_sees_it(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(streaming(0.05))
    await pool.dispatcher(unit, **ONLINE, slots_tpot_short_s=0.001)
    await gateway.submit_many(12)
    await until(lambda: unit.in_flight == 8)

    async def lowered() -> bool:
        (view,) = (await pool.views.pool()).units
        return view.online_short == 5

    # No more than a third at once: the next step waits until the unit has come down to it.
    await until(lowered)
    assert "lowered" in {event["event"] for event in await pool.views.events()}
    assert unit.most_in_flight == 8


async def test_answers_in_one_piece_are_not_held_back(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(when_released)
    await pool.dispatcher(unit, **ONLINE, slots_tpot_short_s=0.001)
    jobs = await gateway.submit_many(30, stream=False)
    await until(lambda: unit.in_flight == 30)
    unit.release(*jobs)
    for job in jobs:
        await gateway.received(job)


async def test_an_override_turns_online_limits_on_and_off(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(streaming(0.05))
    await pool.dispatcher(unit, **ONLINE | {"slots": "fixed"})
    overrides = pool.store.keys.policy

    async def found() -> int:
        (view,) = (await pool.views.pool()).units
        return view.online_short

    assert await found() == 0
    await pool.connection.command("HSET", overrides, "slots", "online")

    async def on() -> bool:
        return await found() == 8

    await until(on)
    await pool.connection.command("HDEL", overrides, "slots")

    async def off() -> bool:
        return await found() == 0

    await until(off)
    await gateway.submit_many(20)
    await until(lambda: unit.in_flight == 20)


@pytest.mark.parametrize("said", [True, False])
def test_what_a_token_takes_is_learnt_from_usage_or_from_the_last_events(said: bool) -> None:  # noqa: FBT001  # both ways
    running = RunningJobs()
    limiter = Limiter(running, Metrics("p", "u", CollectorRegistry()), Policy(), Policy)
    for number in range(300):
        job = running.add(replace(LONG_STREAM, id=f"job-{number}"))
        limiter.first_byte(job)
        job.sent_bytes = 40_000
        limiter.answered(job, 100 if said else 0, event("x" * 372) * 10)
    assert limiter._bytes_per_token == pytest.approx(400, rel=0.02)


def test_a_stream_that_has_come_counts_no_other_tokens_when_what_one_takes_is_learnt_anew() -> None:
    running = RunningJobs()
    limiter = Limiter(running, Metrics("p", "u", CollectorRegistry()), Policy(), Policy)
    stream, ending = (running.add(replace(LONG_STREAM, id=name)) for name in ("stream", "ending"))
    stream.sent, stream.sent_bytes = True, 200_000
    (before,) = limiter._seen(running.all()).streams
    limiter.first_byte(ending)
    ending.ended, ending.sent_bytes = True, 200_000
    limiter.answered(ending, 400, b"")
    stream.sent_bytes += 9000
    (after,) = limiter._seen(running.all()).streams
    assert after.tokens - before.tokens == pytest.approx(9000 / limiter._bytes_per_token)
