"""Whose turn it is: fair shares between owners, priorities with ageing, and nothing left behind."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.keys import GROUP, place_of
from tests.lua.conftest import Clock, Pool, fake_connection, new_pool

STEP_JOBS = 10
"""How many jobs of weight 1 a step of priority lets an owner be ahead."""


async def served(pool: Pool, count: int, unit: str = "a") -> list[str]:
    """Claim and finish jobs, one at a time; their ids in order."""
    found = []
    for _ in range(count):
        claim = await pool.claim(unit, worker_concurrency_limit=1)
        await pool.finish(unit, *claim.jobs)
        found += [job.id for job in claim.jobs]
    return found


async def owners_of(pool: Pool, jobs: list[str]) -> list[str]:
    return [(await pool.job(job)).get("owner", "") for job in jobs]


async def order_keys(pool: Pool) -> list[str]:
    kinds = ("waiting", "due", "spent", "virtual", "lane")
    names = [name.removeprefix(f"{pool.keys.prefix}:") for name in await pool.key_names()]
    return [name for name in names if name.partition(":")[0] in kinds]


# Fair shares


async def test_a_crowd_of_one_owner_delays_the_first_job_of_another_by_one(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=200, owner="crowd")
    await served(pool, 5)
    (one,) = await pool.submit(owner="one")
    assert one in await served(pool, 2)


async def test_owners_with_much_to_do_take_turns(pool: Pool) -> None:
    await pool.unit("a")
    for owner in ("x", "y", "z"):
        await pool.submit(count=6, owner=owner)
    order = await owners_of(pool, await served(pool, 18))
    assert all(set(order[at : at + 3]) == {"x", "y", "z"} for at in range(0, 18, 3))


async def test_of_owners_that_come_anew_the_first_is_served_first(pool: Pool) -> None:
    await pool.unit("a")
    jobs = [(await pool.submit(owner=owner))[0] for owner in ("z", "", "y", "x")]
    assert await served(pool, 4) == jobs


async def test_a_claim_of_many_jobs_shares_them_out(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=20, owner="x")
    await pool.submit(count=20, owner="y")
    assert Counter(await owners_of(pool, await pool.take("a"))) == {"x": 4, "y": 4}


async def test_an_owner_that_was_idle_has_saved_nothing_up(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=1, owner="y")
    await pool.submit(count=40, owner="x")
    await served(pool, 20)
    await pool.submit(count=20, owner="y")
    assert Counter(await owners_of(pool, await served(pool, 10))) == {"x": 5, "y": 5}


async def test_an_owner_that_asks_again_after_each_job_gets_no_more_than_its_share(
    pool: Pool,
) -> None:
    await pool.unit("a")
    await pool.submit(count=60, owner="x", weight=3)
    order: list[str] = []
    for _ in range(40):
        if await pool.redis("ZSCORE", pool.keys.due("short"), "y") is None:
            await pool.submit(owner="y")
        order += await owners_of(pool, await served(pool, 1))
    assert 9 <= order.count("y") <= 11


async def test_jobs_that_are_cancelled_or_late_cost_their_owner_nothing(
    pool: Pool, clock: Clock
) -> None:
    await pool.unit("a")
    gone = await pool.submit(count=10, owner="x")
    await pool.submit(count=10, owner="x", timeout_s=1.0)
    left = await pool.submit(count=3, owner="x")
    await pool.submit(count=10, owner="y")
    for job in gone:
        assert await pool.cancel(job) == "OK"
    clock.advance(1)
    assert set(left) <= set(await served(pool, 12))
    order = [event["job"] for event in await pool.events("claimed")]
    assert set(left) <= set(order[:6])


async def test_each_class_has_turns_of_its_own(pool: Pool) -> None:
    await pool.unit("a")
    await pool.unit("b", role="long")
    await pool.submit("short", count=10, owner="x")
    await served(pool, 6)
    (long,) = await pool.submit("long", owner="x")
    await pool.submit("long", owner="y")
    assert (await served(pool, 1, "b")) == [long]


async def test_requeued_jobs_go_first_whoever_has_the_turn(pool: Pool) -> None:
    await pool.unit("a", "b")
    job = await pool.one("a", owner="x")
    await pool.submit(count=3, owner="y")
    await pool.requeue("a", job)
    assert (await served(pool, 1, "b")) == [job.id]


# Priorities


async def test_of_one_owner_the_lower_priority_goes_first_and_of_one_the_earlier(
    pool: Pool,
) -> None:
    await pool.unit("a")
    late = await pool.submit(count=2, priority=3)
    usual = await pool.submit(count=2)
    urgent = await pool.submit(count=2, priority=-5)
    assert await served(pool, 6) == [*urgent, *usual, *late]


async def test_a_job_that_has_waited_a_step_longer_is_not_overtaken(
    pool: Pool, clock: Clock
) -> None:
    await pool.unit("a")
    (old,) = await pool.submit(priority=2)
    clock.advance(2 * pool.settings.priority_step_s - 1)
    (before,) = await pool.submit()
    clock.advance(2)
    (after,) = await pool.submit()
    assert await served(pool, 3) == [before, old, after]


async def test_an_urgent_job_overtakes_other_owners(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=5, owner="x")
    await served(pool, 2)
    await pool.submit(owner="y", priority=1)
    (urgent,) = await pool.submit(owner="z", priority=-1)
    order = await served(pool, 5)
    assert order[0] == urgent
    assert (await owners_of(pool, order)) == ["z", "x", "x", "x", "y"]


async def test_an_owner_with_urgent_jobs_alone_is_ahead_by_a_constant(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=50, owner="x")
    await pool.submit(count=50, owner="y", priority=-1)
    order = await owners_of(pool, await served(pool, 40))
    assert STEP_JOBS <= order.index("x") <= STEP_JOBS + 1
    rest = Counter(order[STEP_JOBS + 1 :])
    assert abs(rest["x"] - rest["y"]) <= 1


async def test_a_patient_job_waits_for_a_bounded_number_of_turns(pool: Pool) -> None:
    await pool.unit("a")
    (patient,) = await pool.submit(owner="x", priority=2)
    for _ in range(2 * STEP_JOBS + 1):
        await pool.submit(count=2, owner="y")
        if patient in await served(pool, 1):
            return
    pytest.fail("it was still waiting")


async def test_patience_is_not_paid_back_with_a_burst(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=40, owner="x", priority=4)
    await served(pool, 10)
    await pool.submit(count=10, owner="x")
    await pool.submit(count=10, owner="y")
    first = await owners_of(pool, await served(pool, 8))
    assert abs(first.count("x") - first.count("y")) <= 2


# The starvation bound


async def test_the_starved_job_is_the_oldest_whosever_turn_it_is(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    await pool.unit("b", role="long")
    (oldest,) = await pool.submit("long", priority=5)
    clock.advance(10)
    await pool.submit("long", owner="y", priority=-5)
    (job,) = (await pool.claim("b", worker_concurrency_limit=1)).jobs
    assert job.id != oldest
    await pool.requeue("b", job)
    clock.advance(pool.settings.starvation_bound_s - 5)
    claim = await pool.claim("a")
    assert [(job.id, job.why) for job in claim.jobs] == [(oldest, "starved")]


async def test_the_oldest_is_found_among_all_owners_and_priorities(
    pool: Pool, clock: Clock
) -> None:
    await pool.submit(priority=9, owner="x")
    clock.advance(7)
    await pool.submit(count=3, owner="y")
    assert (await pool.views.tally()).queues["short"].oldest_s == 7.0


# What stays


@pytest.mark.parametrize("how", ["claimed", "cancelled", "expired"])
async def test_of_the_order_nothing_is_left_when_nobody_waits(
    pool: Pool, clock: Clock, how: str
) -> None:
    await pool.unit("a")
    jobs = [(await pool.submit(owner=name, timeout_s=9.0))[0] for name in ("x", "y", "z", "x")]
    if how == "cancelled":
        for job in jobs:
            await pool.cancel(job)
    else:
        clock.advance(10 if how == "expired" else 0)
        assert len(await served(pool, 4)) == (0 if how == "expired" else 4)
    assert await order_keys(pool) == []


async def test_what_an_owner_used_is_forgotten_when_the_others_have_caught_up(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=12, owner="x")
    for owner in ("y", "z"):
        await pool.submit(owner=owner)
    await served(pool, 3)
    assert await pool.redis("ZCARD", pool.keys.spent("short")) == 2
    await served(pool, 3)
    assert await pool.redis("ZCARD", pool.keys.spent("short")) == 0


# Entries that have no place, and places that have no entry


async def _forget_order(pool: Pool) -> None:
    """As if a version that knows no order had submitted all that waits."""
    for name in await order_keys(pool):
        await pool.redis("DEL", f"{pool.keys.prefix}:{name}")


async def test_jobs_that_an_older_version_submitted_are_served_in_their_order(pool: Pool) -> None:
    await pool.unit("a")
    old = await pool.submit(count=3)
    await _forget_order(pool)
    new = await pool.submit(count=2)
    assert sorted(await served(pool, 5)) == sorted([*old, *new])
    assert await pool.depth() == 0
    assert await order_keys(pool) == []


async def test_more_old_jobs_than_one_page_are_all_found(pool: Pool) -> None:
    await pool.unit("a")
    jobs = await pool.submit(count=501)
    await _forget_order(pool)
    assert await served(pool, 3) == jobs[:3]
    assert await pool.redis("ZCARD", pool.keys.waiting("short")) == 498


async def test_what_a_claim_of_an_older_version_has_is_not_handed_out_again(pool: Pool) -> None:
    await pool.unit("a", "b")
    (job, other) = await pool.submit(count=2)
    fields = await pool.job(job)
    (held,) = (await pool.claim("b", worker_concurrency_limit=1)).jobs
    assert held.id == job
    place = place_of(fields["entry"])
    await pool.redis("ZADD", pool.keys.waiting("short"), 1, place)
    await pool.redis("ZADD", pool.keys.lane("short:"), 1, place)
    assert await pool.take("a") == [other]
    assert await pool.consumers("short") == {"a": 1, "b": 1}
    assert await pool.depth() == 0
    assert await order_keys(pool) == []


async def test_a_place_whose_entry_is_gone_is_cleared(pool: Pool) -> None:
    await pool.unit("a")
    (gone, left) = await pool.submit(count=2)
    await pool.redis("XDEL", pool.keys.queue("short"), (await pool.job(gone))["entry"])
    await pool.lose_job(gone)
    assert await pool.take("a") == [left]
    assert await order_keys(pool) == []


async def test_a_job_that_is_forgotten_leaves_neither_place_nor_entry(
    pool: Pool, clock: Clock
) -> None:
    await pool.unit("a")
    (gone,) = await pool.submit("long", owner="x")
    await pool.lose_job(gone)
    clock.advance(pool.settings.starvation_bound_s + 1)
    (left,) = await pool.submit("long", owner="y")
    claimed = [job for _ in range(2) for job in await pool.take("a")]
    assert claimed == [left]
    assert await pool.redis("XLEN", pool.keys.queue("long")) == 1
    assert await order_keys(pool) == []


async def test_a_group_made_anew_keeps_waiting_jobs_in_their_order(pool: Pool) -> None:
    await pool.unit("a")
    late = await pool.submit(count=2, priority=1)
    first = await pool.submit(count=2)
    await pool.redis("XGROUP", "DESTROY", pool.keys.queue("short"), GROUP)
    assert await served(pool, 4) == [*first, *late]


# Any load

LOADS = st.lists(
    st.tuples(st.integers(1, 5), st.integers(20, 30)), min_size=2, max_size=4
)  # weight, jobs


@given(LOADS, st.integers(1, 19))
@settings(max_examples=25, derandomize=True)
async def test_of_busy_owners_nobody_is_a_job_ahead_of_its_weight(
    loads: list[tuple[int, int]], count: int
) -> None:
    async with fake_connection() as connection:
        pool = await new_pool(connection)
        await pool.unit("a")
        for at, (weight, jobs) in enumerate(loads):
            await pool.submit(count=jobs, owner=f"o{at}", weight=weight)
        got = Counter(await owners_of(pool, await served(pool, count)))
        shares = [(got[f"o{at}"], weight) for at, (weight, _) in enumerate(loads)]
        for ahead, its_weight in shares:
            for other, other_weight in shares:
                # Costs are whole numbers: a hundred-thousandth of a job is lost in rounding.
                assert (ahead - 1) / its_weight <= other / other_weight + 1e-3


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from("xyz"), st.integers(1, 6)),
        st.tuples(st.just("serve"), st.integers(1, 4)),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=25, derandomize=True)
async def test_whatever_came_before_a_newcomer_waits_for_one_job_of_each_other(
    steps: list[tuple[Any, ...]],
) -> None:
    async with fake_connection() as connection:
        pool = await new_pool(connection)
        await pool.unit("a")
        jobs: list[str] = []
        for step in steps:
            if step[0] == "submit":
                jobs += await pool.submit(count=step[2], owner=step[1])
            elif step[0] == "serve":
                await served(pool, step[1])
            elif jobs:
                await pool.cancel(jobs[step[1] % len(jobs)])
        (new,) = await pool.submit(owner="new")
        order = await served(pool, 4)
        before = await owners_of(pool, order[: order.index(new)])
        assert len(before) == len(set(before))


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=20))
@settings(max_examples=25, derandomize=True)
async def test_priorities_sort_an_owners_jobs_and_keep_the_order_within_each(
    priorities: list[int],
) -> None:
    async with fake_connection() as connection:
        pool = await new_pool(connection)
        await pool.unit("a")
        jobs = [(await pool.submit(priority=each))[0] for each in priorities]
        ranks = dict(zip(jobs, priorities, strict=True))
        assert await served(pool, len(jobs)) == sorted(jobs, key=lambda job: ranks[job])
