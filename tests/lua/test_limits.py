"""What an owner may use: exact, in one step with the submit, and refused without a trace."""

import asyncio
from typing import Any

import pytest

from common.models import Limits, Submitted
from tests.lua.conftest import Clock, Pool

ME = "me"


async def ask(pool: Pool, limits: Limits, **changes: Any) -> Submitted:
    return await pool.try_submit(owner=ME, limits=limits, **changes)


async def keys_of_jobs(pool: Pool) -> list[str]:
    return [name for name in await pool.key_names() if ":rate:" not in name]


# Requests and prompt tokens a minute


async def test_so_many_requests_and_not_one_more(pool: Pool) -> None:
    limits = Limits(requests=5)
    answers = await asyncio.gather(*(ask(pool, limits) for _ in range(20)))
    assert sum(answer.status == "accepted" for answer in answers) == 5
    assert {answer.limited for answer in answers} == {"", "requests"}
    assert await pool.depth() == 5


async def test_no_window_of_a_minute_has_more(pool: Pool, clock: Clock) -> None:
    limits, taken = Limits(requests=7), []
    for _ in range(400):
        if (await ask(pool, limits)).status == "accepted":
            taken.append(clock())
        clock.advance(0.9)
    for start in taken:
        assert sum(start <= at < start + 60_000 for at in taken) <= 7
    # A second is the grain: who waits for a slot has it within that.
    assert len(taken) >= 400 * 0.9 / 61 * 7


async def test_what_is_used_comes_back_when_the_answer_said(pool: Pool, clock: Clock) -> None:
    limits = Limits(requests=2)
    await ask(pool, limits)
    clock.advance(10)
    await ask(pool, limits)
    refused = await ask(pool, limits)
    assert refused.limited == "requests"
    assert refused.wait_s is not None
    assert 50 <= refused.wait_s <= 51
    clock.advance(refused.wait_s - 0.001)
    assert (await ask(pool, limits)).status == "limited"
    clock.advance(0.001)
    assert (await ask(pool, limits)).status == "accepted"
    assert (await ask(pool, limits)).status == "limited"


async def test_prompt_tokens_are_counted_to_the_last(pool: Pool) -> None:
    limits = Limits(tokens=1000)
    assert (await ask(pool, limits, tokens=600)).status == "accepted"
    refused = await ask(pool, limits, tokens=401)
    assert (refused.limited, refused.wait_s is not None) == ("tokens", True)
    assert (await ask(pool, limits, tokens=400)).status == "accepted"
    assert (await ask(pool, limits, tokens=1)).status == "limited"


async def test_it_waits_for_as_much_to_come_back_as_it_needs(pool: Pool, clock: Clock) -> None:
    limits = Limits(tokens=1000)
    for tokens in (100, 300, 600):
        await ask(pool, limits, tokens=tokens)
        clock.advance(10)
    waits = [(await ask(pool, limits, tokens=tokens)).wait_s or 0 for tokens in (100, 101, 401)]
    assert [round(wait_s / 10) for wait_s in waits] == [3, 4, 5]


async def test_a_prompt_longer_than_the_limit_never_fits(pool: Pool) -> None:
    answer = await ask(pool, Limits(tokens=1000), tokens=1001)
    assert (answer.status, answer.limited, answer.wait_s) == ("limited", "tokens", None)


async def test_an_answer_says_what_is_left_and_when_all_is_back(pool: Pool, clock: Clock) -> None:
    limits = Limits(requests=3, tokens=500)
    budget = (await ask(pool, limits, tokens=200)).budget
    assert budget is not None
    assert (budget.requests_left, budget.tokens_left) == (2, 300)
    assert 60 <= budget.requests_reset_s == budget.tokens_reset_s <= 61
    clock.advance(30)
    budget = (await ask(pool, limits, tokens=400)).budget
    assert budget is not None
    assert (budget.requests_left, budget.tokens_left) == (2, 300)
    assert 30 <= budget.requests_reset_s <= 31


async def test_owners_do_not_share_limits_and_classes_do(pool: Pool) -> None:
    limits = Limits(requests=1)
    assert (await pool.try_submit(owner="x", limits=limits)).status == "accepted"
    assert (await pool.try_submit(owner="y", limits=limits)).status == "accepted"
    assert (await pool.try_submit("long", owner="x", limits=limits)).status == "limited"


# Jobs at a time


@pytest.mark.parametrize("how", ["finished", "cancelled", "expired", "dead", "gateway gone"])
async def test_a_job_counts_until_it_has_ended(pool: Pool, clock: Clock, how: str) -> None:
    limits = Limits(jobs=2)
    await pool.unit("a")
    await pool.store.beat("other")
    other = how == "gateway gone"
    job = pool.new_job(owner=ME, limits=limits, timeout_s=9.0, gateway="other" if other else "g")
    await pool.store.submit(job)
    await ask(pool, limits, job_class="long")
    refused = await ask(pool, limits)
    assert (refused.limited, refused.wait_s) == ("jobs", 1.0)
    if how == "cancelled":
        await pool.cancel(job.id)
    elif how == "expired":
        clock.advance(9)
    elif other:
        await pool.store.forget("other")
        assert await pool.take("a") == []
    else:
        await _end(pool, how)
    assert (await ask(pool, limits)).status == "accepted"
    assert (await ask(pool, limits)).status == "limited"


async def _end(pool: Pool, how: str) -> None:
    for _ in range(pool.settings.max_attempts):
        (claimed,) = (await pool.claim("a")).jobs
        if how == "finished":
            assert await pool.finish("a", claimed) == ["OK"]
            return
        await pool.requeue("a", claimed)


async def test_a_job_that_is_given_back_goes_on_counting(pool: Pool) -> None:
    limits = Limits(jobs=1)
    await pool.unit("a")
    job = await pool.one("a", owner=ME, limits=limits)
    await pool.requeue("a", job)
    assert (await ask(pool, limits)).limited == "jobs"


# Once, and without a trace


async def test_a_submit_that_is_repeated_counts_once(pool: Pool) -> None:
    limits = Limits(jobs=2, requests=2)
    job = pool.new_job(owner=ME, limits=limits)
    for _ in range(3):
        again = await pool.store.submit(job)
    assert again.status == "exists"
    assert again.budget is not None
    assert again.budget.requests_left == 1
    assert (await ask(pool, limits)).status == "accepted"


async def test_what_redis_lost_is_submitted_again_whatever_the_limits_say(pool: Pool) -> None:
    limits = Limits(jobs=1, requests=1, tokens=150)
    job = pool.new_job(owner=ME, limits=limits)
    await ask(pool, limits)
    assert (await pool.store.submit(job)).status == "limited"
    assert (await pool.store.submit(job, again=True)).status == "accepted"
    assert await pool.redis("ZCARD", pool.keys.open(ME)) == 2
    (requests,) = (await pool.redis("HGETALL", pool.keys.rate(ME))).values()
    assert requests == b"1 100"


@pytest.mark.parametrize(
    "limits", [Limits(jobs=1), Limits(requests=1), Limits(tokens=100), Limits(1, 1, 100)]
)
async def test_a_refusal_leaves_nothing_but_the_limits_own_state(
    pool: Pool, limits: Limits
) -> None:
    await pool.unit("a")
    await ask(pool, limits)
    before = await keys_of_jobs(pool)
    rate = await pool.redis("HGETALL", pool.keys.rate(ME))
    events = len(await pool.views.events())
    assert (await ask(pool, limits)).status == "limited"
    assert await keys_of_jobs(pool) == before
    assert await pool.redis("HGETALL", pool.keys.rate(ME)) == rate
    assert len(await pool.views.events()) == events


async def test_what_a_full_queue_refuses_counts_nowhere(pool: Pool) -> None:
    small = pool.with_settings(max_queue_depth_short=1)
    limits = Limits(jobs=5, requests=5)
    await ask(small, limits)
    refused = await ask(small, limits)
    assert refused.status == "full"
    assert refused.budget is not None
    assert refused.budget.requests_left == 4
    assert await pool.redis("ZCARD", pool.keys.open(ME)) == 1


async def test_an_owner_without_limits_has_no_state(pool: Pool) -> None:
    answer = await ask(pool, Limits())
    assert answer.status == "accepted"
    assert await pool.redis("EXISTS", pool.keys.rate(ME), pool.keys.open(ME)) == 0


async def test_the_state_of_limits_goes_by_itself(pool: Pool) -> None:
    await ask(pool, Limits(jobs=5, requests=5), timeout_s=100.0)
    assert 60_000 < await pool.redis("PTTL", pool.keys.rate(ME)) <= 61_000
    assert 150_000 < await pool.redis("PTTL", pool.keys.open(ME)) <= 160_000
    await pool.unit("a")
    await pool.finish("a", *(await pool.claim("a")).jobs)
    assert await pool.redis("EXISTS", pool.keys.open(ME)) == 0
