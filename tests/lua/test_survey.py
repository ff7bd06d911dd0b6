"""survey: what units prefill, and which long job comes next."""

from dataclasses import replace
from typing import Any

from common.models import Part, Prefilling, Relay
from common.scripts import Arg
from tests.lua.conftest import GATEWAY, Pool


async def begin(pool: Pool, unit: str, job: str, attempt: int = 1) -> None:
    """The first byte of a job's answer."""
    relay = Relay(GATEWAY, (Part(job, attempt, "head", b"{}"),))
    await pool.store.turn(unit, relays=[relay])


async def test_a_job_prefills_from_its_claim_to_its_first_byte(pool: Pool) -> None:
    await pool.unit("a", role="long")
    job = await pool.one("a", "long", tokens=9000)
    found = (await pool.views.survey(["a"])).prefilling
    here = Prefilling("a", "long", 9000, pool.clock.now_ms, streams=True, job=job.id, attempt=1)
    assert found == (here,)
    pool.clock.advance(1)
    await begin(pool, "a", job.id)
    assert (await pool.views.survey(["a"])).prefilling == ()


async def test_a_second_attempt_prefills_again(pool: Pool) -> None:
    await pool.unit("a", "b")
    job = await pool.one("a")
    await begin(pool, "a", job.id)
    pool.clock.advance(1)
    await pool.requeue("a", job)
    (again,) = (await pool.claim("b")).jobs
    (found,) = (await pool.views.survey(["a", "b"])).prefilling
    assert (found.unit, again.attempt) == ("b", 2)


async def test_only_the_units_that_are_asked_for_are_looked_at(pool: Pool) -> None:
    await pool.unit("a", "b")
    await pool.one("a")
    assert (await pool.views.survey(["b"])).prefilling == ()


async def test_the_prompts_of_short_jobs_in_flight_are_added_up(pool: Pool) -> None:
    await pool.unit("a")
    await pool.submit(tokens=100)
    await pool.submit(tokens=300)
    await pool.claim("a")
    (seen,) = (await pool.views.survey(["a"])).units
    assert (seen.unit.short, seen.short_tokens) == (2, 400)


async def test_any_number_of_units_may_be_asked_for(pool: Pool) -> None:
    await pool.unit("a")
    for _ in range(2):
        await pool.submit(tokens=100)
    await pool.claim("a")
    names = [f"unit-{number}" for number in range(9000)]
    survey = await pool.views.survey([*names, "a"])
    (seen,) = survey.units
    assert (seen.unit.name, seen.short_tokens, len(seen.prefilling)) == ("a", 200, 2)


async def test_an_empty_pool_has_nothing_to_tell(pool: Pool) -> None:
    survey = await pool.views.survey([])
    assert (survey.next_long_tokens, survey.units) == (0, ())


async def test_the_next_long_job_is_the_one_that_a_claim_would_take(pool: Pool) -> None:
    adaptive = pool.with_settings(policy="adaptive")
    await pool.unit("a", role="long")
    await adaptive.submit("long", tokens=60_000)
    await adaptive.submit("long", tokens=5000)
    assert (await pool.views.survey(["a"])).next_long_tokens == 5000
    (job, _) = (await pool.claim("a")).jobs
    assert job.tokens == 5000


async def test_a_requeued_long_job_is_the_next(pool: Pool) -> None:
    await pool.unit("a", role="long")
    job = await pool.one("a", "long", tokens=7000)
    await pool.submit("long", tokens=5000)
    await pool.requeue("a", job)
    assert (await pool.views.survey(["a"])).next_long_tokens == 7000


async def test_a_unit_is_seen_as_a_look_at_all_of_them_sees_it(pool: Pool) -> None:
    limits: dict[str, Arg] = {"limit": 8, "limit_short": 64, "limit_long": "", "pace": "0.750"}
    await pool.unit("a", role="long", online_short=12, online_long="", **limits)
    await pool.unit("draining")
    await pool.store.set_draining("draining", draining=True)
    await pool.unit("silent")
    await pool.pass_time(pool.settings.alive_s + 1)
    await pool.store.register("a", limits)
    await pool.one("a", "long")
    names = await pool.views.unit_names()
    survey = await pool.views.survey(names)
    # What pages alone need is left out.
    pages: dict[str, Any] = {"idle_s": None, "heartbeat_s": None, "url": "", "reported": {}}
    wanted = [replace(unit, **pages) for unit in (await pool.views.pool()).units]
    assert [seen.unit for seen in survey.units] == wanted
    assert [unit.alive for unit in wanted] == [True, False, False]
