"""claim: whom a unit takes, in which order, and whom it never gets."""

import asyncio

from common.keys import CLASSES, GROUP
from common.models import Bounds
from tests.lua.conftest import GATEWAY, Clock, Pool


async def test_a_claim_hands_out_the_job_as_it_was_submitted(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    await pool.submit(body=b'\x00{"prompt": 1}', stream=False, timeout_s=9.0)
    clock.advance(0.25)
    (job,) = (await pool.claim("a")).jobs
    assert job.body == b'\x00{"prompt": 1}'
    assert (job.job_class, job.attempt, job.why) == ("short", 1, "own")
    assert (job.gateway, job.route, job.stream) == (GATEWAY, "/v1/completions", False)
    assert job.queue_ms == 250
    assert job.deadline_ms == job.submitted_ms + 9000


async def test_a_claimed_job_is_leased_counted_and_running(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    assert await pool.leases("a") == {job.id: clock() + round(pool.settings.lease_s * 1000)}
    assert await pool.active("a") == {"short": 1, "long": 0}
    assert await pool.idle_since("a") is None
    known = await pool.job(job.id)
    assert (known["state"], known["unit"], known["attempt"]) == ("running", "a", "1")
    assert await pool.depth() == 0
    (event,) = await pool.events("claimed")
    assert (event["job"], event["unit"], event["why"]) == (job.id, "a", "own")


async def test_of_large_bodies_a_claim_brings_one_and_asks_again_at_once(pool: Pool) -> None:
    await pool.unit("a")
    jobs = await pool.submit(count=2, body=b"x" * 70_000)
    jobs += await pool.submit(count=2)
    first, second, rest = [await pool.claim("a") for _ in range(3)]
    assert [job.id for claim in (first, second, rest) for job in claim.jobs] == jobs
    assert [len(claim.jobs) for claim in (first, second, rest)] == [1, 1, 2]
    assert (first.wait_s, second.wait_s, rest.wait_s) == (0.0, 0.0, None)
    assert await pool.is_hungry("a")


async def test_a_large_body_that_fills_the_unit_is_followed_by_no_claim(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=2, body=b"x" * 70_000)
    claim = await pool.claim("a", worker_concurrency_limit=1)
    assert (len(claim.jobs), claim.wait_s, claim.full) == (1, None, True)


async def test_jobs_are_taken_in_the_order_they_came(pool: Pool) -> None:
    await pool.unit("a")
    jobs = await pool.submit(count=5)
    assert await pool.take("a") == jobs


async def test_requeued_jobs_come_before_new_ones_and_oldest_first(
    pool: Pool, clock: Clock
) -> None:
    await pool.unit("a", "b")
    await pool.submit()
    clock.advance(1)
    await pool.submit()
    old, young = (await pool.claim("a")).jobs
    (new,) = await pool.submit()
    await pool.requeue("a", young)
    await pool.requeue("a", old)
    claimed = (await pool.claim("b")).jobs
    assert [job.id for job in claimed] == [old.id, young.id, new]
    assert [job.why for job in claimed] == ["requeued", "requeued", "own"]
    assert [job.attempt for job in claimed] == [2, 2, 1]


async def test_a_unit_takes_its_own_class_first(pool: Pool) -> None:
    await pool.unit("a")
    await pool.unit("b", role="long")
    (long,) = await pool.submit("long")
    (short,) = await pool.submit("short")
    assert await pool.take("a") == [short]
    assert await pool.take("b") == [long]


async def test_a_unit_holds_eight_jobs_at_most(pool: Pool) -> None:
    await pool.unit("a")
    jobs = await pool.submit(count=20)
    assert await pool.take("a") == jobs[:8]
    assert await pool.take("a") == []
    assert await pool.active("a") == {"short": 8, "long": 0}


async def test_sixteen_claimers_of_one_unit_at_once_get_eight_jobs(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=100)
    claims = await asyncio.gather(*(pool.claim("a") for _ in range(16)))
    assert sum(len(claim.jobs) for claim in claims) == 8
    assert len(await pool.leases("a")) == 8
    assert await pool.active("a") == {"short": 8, "long": 0}
    assert await pool.depth() == 92


async def test_sixteen_claimers_of_four_units_never_share_a_job(pool: Pool) -> None:
    await pool.unit(*(f"unit-{number % 4}" for number in range(16)))
    jobs = await pool.submit(count=100)
    claims = await asyncio.gather(*(pool.claim(f"unit-{number % 4}") for number in range(16)))
    taken = [job.id for claim in claims for job in claim.jobs]
    assert len(taken) == len(set(taken)) == 32
    assert set(taken) == set(jobs[:32])


async def test_a_freed_slot_is_taken_in_the_same_turn(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=9)
    jobs = (await pool.claim("a")).jobs
    turn = await pool.store.turn("a", finishes=[pool.finished(jobs[0])], claim=True)
    assert turn.finished == ("OK",)
    assert turn.claim is not None
    assert len(turn.claim.jobs) == 1


# Who is never handed out


async def test_a_job_past_its_deadline_is_ended_and_not_handed_out(
    pool: Pool, clock: Clock
) -> None:
    await pool.unit("a")
    (late,) = await pool.submit(timeout_s=1.0)
    (live,) = await pool.submit()
    clock.advance(1)
    assert await pool.take("a") == [live]
    known = await pool.job(late)
    assert (known["state"], known["outcome"]) == ("finished", "expired")
    (batch,) = await pool.replies()
    assert list(batch) == [f"{late}:0:end"]
    assert b'"expired"' in batch[f"{late}:0:end"]
    assert await pool.depth() == 0
    assert [event["job"] for event in await pool.events("expired")] == [late]


async def test_a_requeued_job_past_its_deadline_is_not_handed_out(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    job = await pool.one("a", timeout_s=1.0)
    await pool.requeue("a", job)
    clock.advance(2)
    assert await pool.take("a") == []
    assert (await pool.job(job.id))["outcome"] == "expired"
    assert await pool.redis("XLEN", pool.keys.queue("short")) == 0


async def test_a_new_job_does_not_overtake_a_requeued_one_behind_one_that_is_too_late(
    pool: Pool, clock: Clock
) -> None:
    await pool.unit("a", "b")
    await pool.submit(timeout_s=1.0)
    await pool.submit()
    late, other = (await pool.claim("a")).jobs
    (new,) = await pool.submit()
    for job in (late, other):
        await pool.requeue("a", job)
    clock.advance(2)
    assert await pool.take("b", worker_concurrency_limit=1) == [other.id]
    assert await pool.take("b") == [new]


async def test_a_job_whose_gateway_is_gone_is_cancelled(pool: Pool) -> None:
    await pool.unit("a")
    await pool.store.beat("gone")
    (orphan,) = await pool.submit(gateway="gone")
    assert await pool.store.forget("gone")
    assert await pool.take("a") == []
    known = await pool.job(orphan)
    assert (known["outcome"], known["reason"]) == ("cancelled", "gateway gone")
    assert await pool.redis("EXISTS", pool.keys.reply("gone")) == 0


async def test_a_cancelled_job_is_not_handed_out(pool: Pool) -> None:
    await pool.unit("a")
    (cancelled, live) = await pool.submit(count=2)
    assert await pool.cancel(cancelled) == "OK"
    assert await pool.take("a") == [live]


async def test_entries_that_nobody_waits_for_do_not_cost_a_live_job_its_slot(
    pool: Pool, clock: Clock
) -> None:
    await pool.unit("a")
    await pool.submit(count=10, timeout_s=1.0)
    live = await pool.submit(count=8)
    clock.advance(1)
    assert await pool.take("a") == live


async def test_a_claim_clears_a_bounded_number_of_ended_entries(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    await pool.submit(count=100, timeout_s=1.0)
    clock.advance(1)
    claim = await pool.claim("a")
    assert 0 < await pool.depth() < 100
    assert claim.wait_s is not None
    for _ in range(10):
        await pool.claim("a")
    assert await pool.depth() == 0


async def test_after_clearing_its_own_queue_a_unit_asks_again_for_the_other(
    pool: Pool, clock: Clock
) -> None:
    await pool.unit("a", role="long")
    await pool.submit("long", timeout_s=1.0)
    (short,) = await pool.submit("short")
    clock.advance(1)
    claim = await pool.claim("a")
    assert (claim.jobs, claim.wait_s) == ((), 0.0)
    assert await pool.take("a") == [short]


async def test_an_entry_whose_job_is_forgotten_is_dropped(pool: Pool) -> None:
    await pool.unit("a")
    (lost, live) = await pool.submit(count=2)
    await pool.lose_job(lost)
    assert await pool.take("a") == [live]
    assert await pool.depth() == 0


async def test_an_older_entry_of_a_resubmitted_job_is_dropped(pool: Pool) -> None:
    await pool.unit("a")
    new = pool.new_job()
    await pool.store.submit(new)
    await pool.lose_job(new.id)
    assert (await pool.store.submit(new)).status == "accepted"
    assert await pool.take("a") == [new.id]
    assert await pool.redis("XLEN", pool.keys.queue("short")) == 1


# Groups


async def test_a_claim_makes_the_groups_that_are_missing(pool: Pool) -> None:
    await pool.unit("a")
    (job,) = await pool.submit()
    for name in CLASSES:
        await pool.redis("XGROUP", "DESTROY", pool.keys.queue(name), GROUP)
    assert await pool.take("a") == [job]


async def test_what_is_submitted_before_any_group_is_there_is_not_lost(pool: Pool) -> None:
    (job,) = await pool.submit()
    assert await pool.take("a") == [job]


async def test_a_claim_after_a_lost_group_keeps_the_limits_of_the_call(pool: Pool) -> None:
    await pool.submit(count=4)
    await pool.redis("XGROUP", "DESTROY", pool.keys.queue("short"), GROUP)
    assert len(await pool.take("a", worker_concurrency_limit=2)) == 2


async def test_a_claim_after_a_lost_group_keeps_its_bounds(pool: Pool) -> None:
    await pool.submit(count=4)
    await pool.redis("XGROUP", "DESTROY", pool.keys.queue("short"), GROUP)
    on_trial = (await pool.store.turn("a", claim=True, most=1)).claim
    assert on_trial
    assert len(on_trial.jobs) == 1
    await pool.redis("XGROUP", "DESTROY", pool.keys.queue("short"), GROUP)
    lowered = (await pool.store.turn("a", claim=True, bounds=Bounds(limit_short=2))).claim
    assert lowered
    assert len(lowered.jobs) == 1


async def test_a_group_made_anew_does_not_hand_out_running_jobs_twice(pool: Pool) -> None:
    await pool.unit("a", "b")
    jobs = await pool.submit(count=3)
    running = (await pool.claim("a")).jobs
    (waiting,) = await pool.submit()
    await pool.redis("XGROUP", "DESTROY", pool.keys.queue("short"), GROUP)
    assert await pool.take("b") == [waiting]
    assert await pool.consumers("short") == {"a": 3, "b": 1}
    assert await pool.depth() == 0
    assert sorted(await pool.leases("a")) == sorted(jobs)
    assert await pool.finish("a", *running) == ["OK"] * 3


async def test_a_group_made_anew_hands_out_a_requeued_job_once(pool: Pool) -> None:
    await pool.unit("a", "b", "c")
    job = await pool.one("a")
    await pool.requeue("a", job)
    await pool.redis("XGROUP", "DESTROY", pool.keys.queue("short"), GROUP)
    assert await pool.take("b") == [job.id]
    assert await pool.take("c") == []
    assert await pool.take("b") == []
    assert await pool.depth() == 0
    assert await pool.active("b") == {"short": 1, "long": 0}


# Draining


async def test_a_draining_unit_takes_nothing_and_waits_for_nothing(pool: Pool) -> None:
    await pool.hungry("a")
    await pool.store.set_draining("a", draining=True)
    assert not await pool.is_hungry("a")
    await pool.submit()
    assert await pool.woken("a") == []
    claim = await pool.claim("a")
    assert (claim.draining, claim.jobs) == (True, ())
    await pool.store.set_draining("a", draining=False)
    assert len(await pool.take("a")) == 1


async def test_a_unit_that_drains_hands_its_wake_up_on(pool: Pool) -> None:
    await pool.hungry("a")
    await pool.hungry("b")
    await pool.submit()
    (woken,) = await pool.woken("a", "b")
    await pool.store.set_draining(woken, draining=True)
    (other,) = {"a", "b"} - {woken}
    assert await pool.woken("a", "b") == [other]


async def test_a_unit_that_drains_hands_its_wake_up_to_an_idle_one_of_the_other_role(
    pool: Pool,
) -> None:
    await pool.hungry("b", role="long")
    await pool.hungry("a")
    await pool.submit()
    assert await pool.woken("a", "b") == ["a"]
    await pool.store.set_draining("a", draining=True)
    assert await pool.woken("a", "b") == ["b"]
    assert len(await pool.take("b")) == 1


async def test_a_unit_that_drains_while_nothing_waits_wakes_nobody(pool: Pool) -> None:
    await pool.hungry("a", "b")
    await pool.store.set_draining("a", draining=True)
    assert await pool.woken("a", "b") == []
