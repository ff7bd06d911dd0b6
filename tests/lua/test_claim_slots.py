"""claim: the weighted semaphore, and the live overrides of the policy."""

import pytest

from common.keys import JobClass
from common.policy import Policy
from tests.lua.conftest import Pool

WIDE = {"worker_concurrency_limit_short": 64, "worker_concurrency_limit_long": 8}


async def load(pool: Pool, unit: str) -> float:
    active = await pool.active(unit)
    return active["short"] / 64 + active["long"] / 8


async def fill(pool: Pool, unit: str, long: int, short: int, **policy: object) -> None:
    """Put so many long jobs in a unit's hands, then as many short ones as it takes."""
    await pool.unit(unit, role="long")
    await pool.submit("long", count=long)
    assert len(await pool.take(unit, **policy)) == long
    await pool.unit(unit, role="short")
    await pool.submit("short", count=short)
    await pool.claim(unit, **policy)


@pytest.mark.parametrize(("long", "short"), [(4, 32), (1, 56), (7, 8), (8, 0)])
async def test_jobs_of_both_classes_fill_a_unit_together(pool: Pool, long: int, short: int) -> None:
    await fill(pool, "a", long, 70, **WIDE)
    assert await pool.active("a") == {"short": short, "long": long}
    assert await load(pool, "a") == 1


@pytest.mark.parametrize(("job_class", "limit"), [("short", 64), ("long", 8)])
async def test_each_class_alone_fills_a_unit_at_its_own_limit(
    pool: Pool, job_class: JobClass, limit: int
) -> None:
    await pool.unit("a", role=job_class)
    await pool.submit(job_class, count=limit + 6)
    assert len(await pool.take("a", **WIDE)) == limit
    assert await load(pool, "a") == 1


async def test_a_job_that_would_overfill_the_unit_stays_in_the_queue(pool: Pool) -> None:
    await fill(pool, "a", 0, 57, **WIDE)
    await pool.unit("a", role="long")
    await pool.submit("long", count=2)
    assert await pool.take("a", **WIDE) == []
    assert await pool.depth("long") == 2


@pytest.mark.parametrize(("limit_short", "limit_long"), [(3, 7), (5, 2), (1, 1), (13, 4)])
async def test_no_mix_of_limits_lets_the_load_pass_one(
    pool: Pool, limit_short: int, limit_long: int
) -> None:
    limits = {
        "worker_concurrency_limit_short": limit_short,
        "worker_concurrency_limit_long": limit_long,
        "rasp_long_takes_short": False,
    }
    for long in range(limit_long + 1):
        unit = f"unit-{long}"
        await fill(pool, unit, long, limit_short + 1, **limits)
        active = await pool.active(unit)
        assert active["long"] == long
        assert active["short"] == limit_short * (limit_long - long) // limit_long
        assert active["short"] * limit_long + long * limit_short <= limit_short * limit_long


async def test_a_lowered_limit_takes_no_job_away_and_lets_none_in(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(count=10)
    await pool.claim("a")
    await pool.redis("HSET", pool.keys.policy, "worker_concurrency_limit", 2)
    assert await pool.take("a") == []
    assert (await pool.active("a"))["short"] == 8


@pytest.mark.parametrize(
    ("settings", "live"),
    [
        ({}, {}),
        ({}, {"worker_concurrency_limit": "3"}),
        ({}, {"worker_concurrency_limit_short": "5"}),
        ({}, {"worker_concurrency_limit": "3", "worker_concurrency_limit_short": "5"}),
        ({"worker_concurrency_limit_short": 6}, {}),
        ({"worker_concurrency_limit_short": 6}, {"worker_concurrency_limit": "3"}),
        ({"worker_concurrency_limit_short": 6}, {"worker_concurrency_limit_short": "4"}),
        ({"worker_concurrency_limit": 2}, {"worker_concurrency_limit_long": "7"}),
    ],
)
async def test_a_claim_sees_the_limit_that_the_policy_shows(
    pool: Pool, settings: dict[str, int], live: dict[str, str]
) -> None:
    policy = Policy.model_validate(settings).with_overrides(live)
    if live:
        await pool.redis(
            "HSET", pool.keys.policy, *(text for pair in live.items() for text in pair)
        )
    for role in ("short", "long"):
        await pool.unit(role, role=role)
        await pool.submit(role, count=20)
        assert len(await pool.take(role, **settings)) == policy.limit(role)


@pytest.mark.parametrize("word", ["eight", ""])
async def test_a_live_limit_that_is_no_number_is_ignored(pool: Pool, word: str) -> None:
    await pool.redis("HSET", pool.keys.policy, "worker_concurrency_limit", word)
    await pool.unit("a")
    await pool.submit(count=10)
    assert len(await pool.take("a")) == 8


@pytest.mark.parametrize("word", ["0", "-3", "inf", "nan", "2.5", "0x4", "1e1", "many", ""])
async def test_a_live_limit_that_is_none_leaves_the_setting(pool: Pool, word: str) -> None:
    await pool.redis("HSET", pool.keys.policy, "worker_concurrency_limit", word)
    await pool.unit("a")
    await pool.submit(count=10)
    assert len(await pool.take("a", worker_concurrency_limit=3)) == 3
    assert Policy(worker_concurrency_limit=3).under({"worker_concurrency_limit": word}) == Policy(
        worker_concurrency_limit=3
    )


@pytest.mark.parametrize("setting", [True, False])
@pytest.mark.parametrize("word", ["1", "0", "true", "False", "TRUE", "on", "off", "yes", "no"])
async def test_a_live_switch_means_what_it_means_in_the_settings(
    pool: Pool, word: str, *, setting: bool
) -> None:
    await pool.redis("HSET", pool.keys.policy, "rasp_long_takes_short", word)
    await pool.unit("a", role="long")
    await pool.submit("short")
    shown = Policy().with_overrides({"rasp_long_takes_short": word}).rasp_long_takes_short
    assert bool(await pool.take("a", rasp_long_takes_short=setting)) is shown


@pytest.mark.parametrize("setting", [True, False])
async def test_a_live_switch_of_no_known_word_leaves_the_setting(
    pool: Pool, *, setting: bool
) -> None:
    await pool.redis("HSET", pool.keys.policy, "rasp_long_takes_short", "perhaps")
    await pool.unit("a", role="long")
    await pool.submit("short")
    assert bool(await pool.take("a", rasp_long_takes_short=setting)) is setting


@pytest.mark.parametrize(("most", "taken"), [(0, 0), (1, 1), (3, 3), (100, 8)])
async def test_a_claim_takes_no_more_than_it_is_asked_to(pool: Pool, most: int, taken: int) -> None:
    await pool.unit("a")
    await pool.submit(count=10)
    turn = await pool.store.turn("a", claim=True, most=most)
    assert turn.claim
    assert len(turn.claim.jobs) == taken


async def test_a_unit_that_may_take_one_job_waits_for_no_more(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit()
    await pool.store.turn("a", claim=True, most=1)
    assert not await pool.is_hungry("a")
