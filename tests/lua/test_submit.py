"""submit: once, bounded, and one wake-up."""

import pytest

from common.keys import JobClass
from common.policy import Policy
from tests.lua.conftest import GATEWAY, Clock, Pool


async def test_a_job_is_queued_with_all_that_a_unit_needs(pool: Pool) -> None:
    await pool.unit("a")
    (job,) = await pool.submit("long", tokens=9000, owner="me", timeout_s=10.0)
    known = await pool.job(job)
    assert known["state"] == "queued"
    assert known["class"] == "long"
    assert known["tokens"] == "9000"
    assert known["owner"] == "me"
    assert known["gateway"] == GATEWAY
    assert int(known["deadline_ms"]) == int(known["submitted_ms"]) + 10_000 == pool.clock() + 10_000
    assert await pool.depth("long") == 1
    assert [event["job"] for event in await pool.events("submitted")] == [job]


async def test_a_job_is_forgotten_some_time_after_its_deadline(pool: Pool) -> None:
    (job,) = await pool.submit(timeout_s=10.0)
    ttl_s = await pool.redis("PTTL", pool.keys.job(job)) / 1000
    assert ttl_s == pytest.approx(10.0 + pool.settings.job_ttl_s, abs=10)


async def test_a_second_submit_of_a_job_changes_nothing(pool: Pool) -> None:
    await pool.unit("a")
    new = pool.new_job()
    assert (await pool.store.submit(new)).status == "accepted"
    again = await pool.store.submit(new)
    assert (again.status, again.state) == ("exists", "queued")
    assert await pool.take("a") == [new.id]
    assert (await pool.store.submit(new)).state == "running"
    assert await pool.depth() == 0
    assert len(await pool.events("submitted")) == 1


async def test_a_submit_makes_the_groups_that_are_missing(pool: Pool) -> None:
    assert (await pool.try_submit()).status == "accepted"
    assert await pool.depth() == 1


async def test_a_full_queue_refuses_and_writes_nothing(pool: Pool) -> None:
    small = pool.with_settings(max_queue_depth_short=2)
    await small.submit(count=2)
    refused = small.new_job()
    answer = await small.store.submit(refused)
    assert (answer.status, answer.depth) == ("full", 2)
    assert await pool.job(refused.id) == {}
    assert await pool.depth() == 2


async def test_running_jobs_do_not_fill_the_queue_but_requeued_ones_do(pool: Pool) -> None:
    small = pool.with_settings(max_queue_depth_short=1)
    await pool.unit("a")
    job = await small.one("a")
    (_,) = await small.submit()
    assert (await small.try_submit()).status == "full"
    await pool.take("a")
    assert await pool.requeue("a", job) == "OK"
    assert (await small.try_submit()).status == "full"


async def test_each_class_has_its_own_bound(pool: Pool) -> None:
    small = pool.with_settings(max_queue_depth_short=1, max_queue_depth_long=2)
    await small.submit("short")
    assert (await small.try_submit("short")).status == "full"
    await small.submit("long", count=2)
    assert (await small.try_submit("long")).status == "full"


async def test_the_bound_of_the_call_and_the_live_one_count(pool: Pool) -> None:
    tight = Policy(max_queue_depth_short=1)
    await pool.submit()
    assert (await pool.store.submit(pool.new_job(), tight)).status == "full"
    await pool.redis("HSET", pool.keys.policy, "max_queue_depth_short", 2)
    assert (await pool.store.submit(pool.new_job(), tight)).status == "accepted"
    assert (await pool.store.submit(pool.new_job(), tight)).status == "full"


async def test_a_live_bound_that_is_no_number_is_ignored(pool: Pool) -> None:
    await pool.redis("HSET", pool.keys.policy, "max_queue_depth_short", "many")
    assert (await pool.try_submit()).status == "accepted"


@pytest.mark.parametrize("units", [1, 2, 12])
async def test_one_submit_wakes_one_unit_however_many_there_are(pool: Pool, units: int) -> None:
    names = [f"unit-{number}" for number in range(units)]
    await pool.hungry(*names)
    await pool.submit()
    assert len(await pool.woken(*names)) == 1


@pytest.mark.parametrize(("job_class", "woken"), [("short", ["a"]), ("long", ["b"])])
async def test_a_hungry_unit_of_the_jobs_own_role_comes_first(
    pool: Pool, job_class: JobClass, woken: list[str]
) -> None:
    await pool.hungry("a")
    await pool.hungry("b", role="long")
    await pool.submit(job_class)
    assert await pool.woken("a", "b") == woken


@pytest.mark.parametrize(("job_class", "role"), [("short", "long"), ("long", "short")])
async def test_else_one_idle_unit_of_the_other_role_is_woken(
    pool: Pool, job_class: JobClass, role: JobClass
) -> None:
    await pool.hungry("a", "b", role=role)
    await pool.submit(job_class)
    assert len(await pool.woken("a", "b")) == 1


async def test_a_busy_unit_of_the_other_role_is_left_alone(pool: Pool) -> None:
    await pool.unit("a")
    await pool.one("a")
    assert await pool.is_hungry("a")
    await pool.submit("long")
    assert await pool.woken("a") == []


async def test_of_idle_units_the_longest_idle_is_woken_first(pool: Pool, clock: Clock) -> None:
    await pool.unit("b")
    clock.advance(1)
    await pool.unit("a")
    await pool.claim("a")
    await pool.claim("b")
    await pool.submit("long")
    assert await pool.woken("a", "b") == ["b"]


async def test_an_idle_unit_comes_before_a_busy_one(pool: Pool) -> None:
    await pool.unit("a", "b")
    await pool.one("a")
    await pool.claim("b")
    await pool.submit()
    assert await pool.woken("a", "b") == ["b"]


async def test_dead_units_are_skipped_and_removed(pool: Pool, clock: Clock) -> None:
    await pool.hungry("a", "b", "c")
    await pool.pass_time(pool.settings.alive_s + 1)
    await pool.unit("c")
    await pool.claim("c")
    await pool.submit()
    assert await pool.woken("a", "b", "c") == ["c"]
    assert not await pool.is_hungry("a")
    assert not await pool.is_hungry("b")


async def test_a_woken_unit_is_not_woken_again_before_it_claims(pool: Pool) -> None:
    await pool.hungry("a")
    await pool.submit(count=3)
    assert await pool.woken("a") == ["a"]
    assert len(await pool.take("a")) == 3
    await pool.submit()
    assert await pool.woken("a") == ["a"]


async def test_a_refused_or_repeated_submit_wakes_nobody(pool: Pool) -> None:
    small = pool.with_settings(max_queue_depth_short=1)
    job = small.new_job()
    await small.store.submit(job)
    await pool.unit("a", "b")
    await pool.redis("ZADD", pool.keys.hungry("short"), -0.5, "b")
    assert (await small.store.submit(job)).status == "exists"
    assert (await small.try_submit()).status == "full"
    assert await pool.woken("a", "b") == []


async def test_a_wake_reaches_the_dispatcher_that_waits_for_it(pool: Pool) -> None:
    await pool.hungry("a")
    await pool.submit()
    (wake,) = await pool.store.read_wakes("a", 5.0)
    assert wake.kind == "claim"
    assert await pool.store.read_wakes("a", 0.01) == []


async def test_a_long_unit_that_has_borrowed_is_woken_for_more(pool: Pool) -> None:
    await pool.hungry("b", role="long")
    for _ in range(3):
        await pool.submit()
        assert await pool.woken("b") == ["b"]
        assert len(await pool.take("b")) == 1


async def test_a_long_unit_that_holds_long_jobs_is_woken_for_long_ones_only(pool: Pool) -> None:
    await pool.hungry("b", role="long")
    await pool.submit("long")
    assert await pool.woken("b") == ["b"]
    assert len(await pool.take("b")) == 1
    await pool.submit()
    assert await pool.woken("b") == []
    await pool.submit("long")
    assert await pool.woken("b") == ["b"]
