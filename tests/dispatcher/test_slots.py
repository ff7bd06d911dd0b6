"""How many jobs a dispatcher gives its unit at a time."""

from functools import partial

import pytest

from tests.dispatcher.conftest import Gateway, Pool, until
from tests.dispatcher.scripted import when_released


async def test_of_forty_jobs_never_more_than_eight_are_at_the_unit(
    pool: Pool, gateway: Gateway
) -> None:
    unit = await pool.unit(when_released)
    await pool.dispatcher(unit)
    jobs = await gateway.submit_many(40)
    await until(lambda: unit.in_flight == 8)
    assert await pool.active("a") == {"short": 8}
    unit.release(*jobs)
    for job in jobs:
        assert (await gateway.received(job)).end["outcome"] == "ok"
    assert unit.most_in_flight == 8
    assert sorted(unit.jobs()) == sorted(jobs)


async def test_a_freed_slot_is_filled_at_once(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(when_released)
    # Neither a poll nor a wake-up can fill it: nobody submits, and the next poll is far away.
    await pool.dispatcher(unit, claim_poll_s=600.0)
    jobs = await gateway.submit_many(12)
    await until(lambda: unit.in_flight == 8)
    for first in unit.jobs()[:4]:
        begun = len(unit.calls)
        unit.release(first)
        await until(partial(unit.has_begun, begun + 1))
        assert unit.in_flight == 8
    unit.release(*jobs)
    for job in jobs:
        await gateway.received(job)


async def test_short_jobs_fill_a_unit_up_to_their_own_limit(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(when_released)
    await pool.dispatcher(unit, worker_concurrency_limit_short=64)
    jobs = await gateway.submit_many(80, stream=False)
    await until(lambda: unit.in_flight == 64)
    unit.release(*jobs)
    for job in jobs:
        await gateway.received(job)
    assert unit.most_in_flight == 64


async def test_short_and_long_jobs_share_the_slots_by_weight(pool: Pool, gateway: Gateway) -> None:
    unit = await pool.unit(when_released)
    await pool.dispatcher(unit, worker_concurrency_limit_short=64, claim_poll_s=0.05)
    shorts = await gateway.submit_many(32, stream=False)
    await until(lambda: unit.in_flight == 32)
    await pool.connection.command("SET", pool.store.keys.role("a"), "long")
    longs = await gateway.submit_many(10, stream=False, job_class="long")
    await until(lambda: unit.in_flight == 36)
    assert await pool.active("a") == {"short": 32, "long": 4}
    unit.release(*shorts)
    await until(lambda: len(unit.calls) == 40)
    assert await pool.active("a") == {"short": 0, "long": 8}
    unit.release(*longs)
    for job in [*shorts, *longs]:
        await gateway.received(job)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("policy", ["published", "adaptive"])
async def test_a_job_costs_one_claim_while_none_waits(
    pool: Pool,
    gateway: Gateway,
    policy: str,
    stream: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    unit = await pool.unit()
    changes = {"policy": policy, "worker_concurrency_limit": 1, "claim_poll_s": 0.05}
    dispatcher = await pool.dispatcher(unit, **changes)
    for _ in range(20):
        (job,) = await gateway.submit_many(1, stream=stream)
        assert (await gateway.received(job)).end["outcome"] == "ok"
        await until(partial(pool.is_hungry, "a"))
    claims = sum(
        dispatcher.metric("adasplit_claims_total", found=found) for found in ("some", "none")
    )
    assert claims <= 20 * 1.5
