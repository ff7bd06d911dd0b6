"""cancel: of a job that waits, runs, has ended, or never was."""

import json

import pytest

from common.models import Outcome
from tests.lua.conftest import GATEWAY, Pool


async def test_a_waiting_job_is_removed_at_once(pool: Pool) -> None:
    (job,) = await pool.submit()
    assert await pool.cancel(job) == "OK"
    known = await pool.job(job)
    assert (known["state"], known["outcome"]) == ("finished", "cancelled")
    assert await pool.redis("XLEN", pool.keys.queue("short")) == 0
    assert await pool.redis("HEXISTS", pool.keys.job(job), "body") == 0
    (batch,) = await pool.replies()
    assert json.loads(batch[f"{job}:0:end"]) == {"outcome": "cancelled", "reason": "client left"}
    assert [event["job"] for event in await pool.events("cancelled")] == [job]


async def test_a_requeued_job_is_removed_at_once(pool: Pool) -> None:
    await pool.unit("a", "b")
    job = await pool.one("a")
    await pool.requeue("a", job)
    assert await pool.cancel(job.id) == "OK"
    assert await pool.depth() == 0
    assert await pool.take("b") == []
    assert await pool.consumers("short") == {}


async def test_the_unit_of_a_running_job_is_asked_and_keeps_the_slot(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    assert await pool.cancel(job.id) == "ASKED"
    (wake,) = await pool.store.read_wakes("a", 5.0)
    assert (wake.kind, wake.job, wake.attempt) == ("cancel", job.id, 1)
    assert await pool.active("a") == {"short": 1, "long": 0}
    assert await pool.replies() == []
    assert await pool.finish("a", job, outcome="cancelled") == ["OK"]


async def test_a_cancel_may_come_twice(pool: Pool) -> None:
    await pool.unit("a")
    (waiting,) = await pool.submit()
    assert [await pool.cancel(waiting) for _ in range(2)] == ["OK", "FINISHED"]
    running = await pool.one("a")
    assert [await pool.cancel(running.id) for _ in range(2)] == ["ASKED", "ASKED"]
    assert len(await pool.replies()) == 1


async def test_a_finished_job_stays_as_it_ended(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.finish("a", job)
    assert await pool.cancel(job.id) == "FINISHED"
    assert (await pool.job(job.id))["outcome"] == "ok"


async def test_an_unknown_job_stays_unknown(pool: Pool) -> None:
    assert await pool.cancel("nobody") == "UNKNOWN"
    assert await pool.job("nobody") == {}


async def test_a_cancel_makes_no_reply_stream(pool: Pool) -> None:
    (job,) = await pool.submit()
    await pool.store.forget(GATEWAY)
    assert await pool.cancel(job) == "OK"
    assert await pool.redis("EXISTS", pool.keys.reply(GATEWAY)) == 0


@pytest.mark.parametrize("outcome", ["cancelled", "expired"])
async def test_a_waiting_job_ends_as_its_canceller_says(pool: Pool, outcome: Outcome) -> None:
    (job,) = await pool.submit()
    assert await pool.store.cancel(job, "short", GATEWAY, "too late", outcome) == "OK"
    known = await pool.job(job)
    assert (known["outcome"], known["reason"]) == (outcome, "too late")
    assert [event["job"] for event in await pool.events(outcome)] == [job]


@pytest.mark.parametrize("outcome", ["cancelled", "expired"])
async def test_a_running_job_ends_as_its_first_canceller_said(pool: Pool, outcome: Outcome) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    assert await pool.store.cancel(job.id, "short", GATEWAY, "too late", outcome) == "ASKED"
    assert await pool.store.cancel(job.id, "short", GATEWAY, "client left") == "ASKED"
    assert await pool.finish("a", job, outcome="cancelled") == ["OK"]
    known = await pool.job(job.id)
    assert (known["outcome"], known["reason"]) == (outcome, "too late")
    assert [event["job"] for event in await pool.events(outcome)] == [job.id]


async def test_an_answer_that_was_complete_before_its_cancel_arrived_is_ok(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.cancel(job.id)
    assert await pool.finish("a", job, outcome="ok") == ["OK"]
    assert (await pool.job(job.id))["outcome"] == "ok"
