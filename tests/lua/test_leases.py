"""renew and requeue: how long a claim is good for, and how a job is given back."""

import json

import pytest

from common.keys import JobClass
from common.models import Lease
from tests.lua.conftest import Clock, Pool


async def lapse(pool: Pool, *renewed: str) -> None:
    """Let all leases run out while these units go on beating."""
    await pool.pass_time(pool.settings.lease_s + 0.001)
    for unit in renewed:
        await pool.store.register(unit, {})


# renew


async def test_renew_extends_the_named_leases_and_no_others(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    kept, left = await pool.one("a"), await pool.one("a")
    before = (await pool.leases("a"))[left.id]
    clock.advance(5)
    assert await pool.store.renew("a", [(kept.id, 1)]) == ()
    after = await pool.leases("a")
    assert after == {left.id: before, kept.id: clock() + round(pool.settings.lease_s * 1000)}


async def test_renew_names_what_is_superseded(pool: Pool) -> None:
    await pool.unit("a", "b")
    finished, lost, held = [await pool.one("a") for _ in range(3)]
    await pool.finish("a", finished)
    await pool.requeue("a", lost)
    await pool.claim("b")
    named = [(job.id, 1) for job in (finished, lost, held)] + [("unknown", 1)]
    assert await pool.store.renew("a", named) == (finished.id, lost.id, "unknown")
    assert list(await pool.leases("a")) == [held.id]


async def test_an_older_attempt_of_the_same_unit_renews_nothing(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    first = await pool.one("a")
    await pool.requeue("a", first)
    (second,) = (await pool.claim("a")).jobs
    before = await pool.leases("a")
    clock.advance(1)
    assert await pool.store.renew("a", [(first.id, first.attempt)]) == (first.id,)
    assert await pool.leases("a") == before
    assert await pool.store.renew("a", [(second.id, second.attempt)]) == ()


async def test_a_lapsed_lease_that_nobody_took_over_is_renewed(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await lapse(pool)
    assert await pool.store.renew("a", [(job.id, 1)]) == ()
    assert await pool.requeue("a", job, lapsed_only=True) == "HELD"


async def test_renew_of_another_units_lease_makes_none(pool: Pool) -> None:
    await pool.unit("a", "b")
    job = await pool.one("a")
    assert await pool.store.renew("b", [(job.id, 1)]) == (job.id,)
    assert await pool.leases("b") == {}


# requeue


async def test_a_job_given_back_waits_again_and_keeps_its_place(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    assert await pool.requeue("a", job) == "OK"
    known = await pool.job(job.id)
    assert (known["state"], known["reason"], known["attempt"]) == ("queued", "unit failed", "1")
    assert await pool.depth() == 1
    assert await pool.consumers("short") == {"requeued": 1}
    assert await pool.active("a") == {"short": 0, "long": 0}
    assert await pool.leases("a") == {}
    assert await pool.idle_since("a") == pool.clock()
    assert [event["job"] for event in await pool.events("requeued")] == [job.id]


async def test_a_job_is_given_back_once(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    assert await pool.requeue("a", job) == "OK"
    assert await pool.requeue("a", job) == "SUPERSEDED"
    assert await pool.depth() == 1


async def test_a_superseded_attempt_cannot_give_back(pool: Pool) -> None:
    await pool.unit("a", "b")
    job = await pool.one("a")
    await pool.requeue("a", job)
    await pool.claim("b")
    assert await pool.requeue("a", job) == "SUPERSEDED"
    assert await pool.requeue("b", job) == "SUPERSEDED"
    assert await pool.active("b") == {"short": 1, "long": 0}


async def test_a_held_lease_is_not_reclaimed_before_it_ends(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.pass_time(pool.settings.lease_s - 0.001)
    assert await pool.requeue("a", job, lapsed_only=True) == "HELD"
    assert await pool.active("a") == {"short": 1, "long": 0}
    clock.advance(0.001)
    assert await pool.requeue("a", job, lapsed_only=True) == "OK"
    assert [event["unit"] for event in await pool.events("reclaimed")] == ["a"]
    assert await pool.requeue("a", job, lapsed_only=True) == "HELD"


async def test_a_lapsed_lease_is_found_with_its_job_and_gateway(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    assert await pool.views.lapsed("a", pool.clock()) == []
    await lapse(pool)
    lease = Lease(job.id, 1, "short")
    assert await pool.views.lapsed("a", pool.clock()) == [(lease, job.gateway)]
    assert await pool.views.held("a") == [(lease, job.gateway)]


async def test_a_lapsed_lease_of_a_finished_job_is_only_cleared(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.redis("HSET", pool.keys.job(job.id), "state", "finished")
    await lapse(pool)
    assert await pool.requeue("a", job, lapsed_only=True) == "SUPERSEDED"
    assert await pool.leases("a") == {}
    assert await pool.active("a") == {"short": 0, "long": 0}


async def test_a_reclaim_on_an_old_view_leaves_the_newer_attempts_lease(pool: Pool) -> None:
    await pool.unit("a")
    first = await pool.one("a")
    await pool.requeue("a", first)
    (second,) = (await pool.claim("a")).jobs
    await lapse(pool)
    assert await pool.requeue("a", first, lapsed_only=True) == "SUPERSEDED"
    assert list(await pool.leases("a")) == [second.id]
    assert await pool.requeue("a", second, lapsed_only=True) == "OK"


@pytest.mark.parametrize("job_class", ["short", "long"])
async def test_a_lapsed_lease_of_a_forgotten_job_lowers_the_right_counter(
    pool: Pool, job_class: JobClass
) -> None:
    await pool.unit("a", role=job_class)
    job = await pool.one("a", job_class)
    await pool.lose_job(job.id)
    await lapse(pool)
    ((lease, gateway),) = await pool.views.lapsed("a", pool.clock())
    assert await pool.store.requeue("a", lease, gateway, "", lapsed_only=True) == "SUPERSEDED"
    assert await pool.active("a") == {"short": 0, "long": 0}
    assert await pool.leases("a") == {}


async def test_a_job_is_set_aside_after_three_attempts(pool: Pool) -> None:
    await pool.unit("a", "b", "c")
    await pool.submit("short")
    answers = []
    for unit in ("a", "b", "c"):
        (job,) = (await pool.claim(unit)).jobs
        answers.append(await pool.requeue(unit, job))
    assert answers == ["OK", "OK", "DEAD"]
    known = await pool.job(job.id)
    assert (known["state"], known["outcome"], known["attempt"]) == ("finished", "dead", "3")
    ((_, dead),) = await pool.redis("XRANGE", pool.keys.dead, "-", "+")
    assert dead[b"job"].decode() == job.id
    assert dead[b"reason"] == b"unit failed"
    (batch,) = await pool.replies()
    assert json.loads(batch[f"{job.id}:3:end"]) == {"outcome": "dead", "reason": "unit failed"}
    assert await pool.redis("XLEN", pool.keys.queue("short")) == 0
    assert await pool.depth() == 0
    assert await pool.redis("HGET", pool.keys.job(job.id), "body") == job.body


async def test_a_lapse_counts_as_an_attempt(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(timeout_s=3600.0)
    answers = []
    for _ in range(3):
        (job,) = (await pool.claim("a")).jobs
        await lapse(pool, "a")
        answers.append(await pool.requeue("a", job, lapsed_only=True))
    assert answers == ["OK", "OK", "DEAD"]


async def test_spared_attempts_do_not_count(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit()
    answers = []
    for spared in (True, False, True, False, True, False):
        (job,) = (await pool.claim("a")).jobs
        answers.append(await pool.requeue("a", job, spared=spared))
    assert answers == ["OK"] * 5 + ["DEAD"]
    assert job.attempt == 6


@pytest.mark.parametrize("lapsed", [True, False])
async def test_a_job_cancelled_while_it_ran_is_ended_and_not_run_again(
    pool: Pool, *, lapsed: bool
) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    assert await pool.cancel(job.id) == "ASKED"
    if lapsed:
        await lapse(pool, "a")
    assert await pool.requeue("a", job, lapsed_only=lapsed) == "CANCELLED"
    known = await pool.job(job.id)
    assert (known["state"], known["outcome"]) == ("finished", "cancelled")
    assert known["reason"] == "client left"
    (batch,) = await pool.replies()
    assert list(batch) == [f"{job.id}:1:end"]
    assert await pool.take("a") == []
    assert await pool.redis("XLEN", pool.keys.queue("short")) == 0


async def test_another_unit_is_woken_and_not_the_one_that_gave_back(pool: Pool) -> None:
    await pool.unit("a", "b", "c")
    job = await pool.one("a")
    await pool.claim("b")
    await pool.claim("c")
    await pool.requeue("a", job)
    (woken,) = await pool.woken("a", "b", "c")
    assert woken in {"b", "c"}
    assert not await pool.is_hungry("a")


async def test_dead_units_are_not_woken_for_a_requeued_job(pool: Pool, clock: Clock) -> None:
    await pool.hungry("dead")
    await pool.pass_time(pool.settings.alive_s + 1)
    await pool.unit("a")
    job = await pool.one("a")
    await pool.hungry("b")
    await pool.requeue("a", job)
    assert await pool.woken("dead", "a", "b") == ["b"]


async def test_an_idle_unit_of_the_other_role_is_woken_when_none_else_can(pool: Pool) -> None:
    await pool.unit("a", role="long")
    job = await pool.one("a", "long")
    await pool.hungry("b")
    await pool.requeue("a", job)
    assert await pool.woken("a", "b") == ["b"]
    assert (await pool.claim("b")).wait_s == 2.0


async def test_depth_is_what_is_submitted_and_not_claimed(pool: Pool) -> None:
    await pool.unit("a", "b")
    await pool.submit(count=10)
    first = (await pool.claim("a")).jobs
    assert await pool.depth() == 2
    for job in first[:3]:
        await pool.requeue("a", job)
    assert await pool.depth() == 5
    await pool.finish("a", *first[3:5])
    assert await pool.depth() == 5
    await pool.claim("b")
    assert await pool.depth() == 0


async def test_a_requeued_job_knows_since_when_it_waits_again(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    first = await pool.one("a", traceparent="00-ab-cd-01")
    assert (first.queued_ms, first.traceparent) == (first.submitted_ms, "00-ab-cd-01")
    clock.advance(3)
    await pool.requeue("a", first)
    clock.advance(2)
    (second,) = (await pool.claim("a")).jobs
    assert second.queued_ms == first.submitted_ms + 3000
    assert (second.submitted_ms, second.traceparent) == (first.submitted_ms, first.traceparent)
