"""relay and finish: what reaches a gateway, from whom, and how often."""

import json
from dataclasses import replace

import pytest

from common.models import ClaimedJob, Outcome, Part, PartKind, Relay, Relayed
from tests.lua.conftest import GATEWAY, Clock, Pool


def part(job: ClaimedJob, kind: PartKind = "chunk", content: bytes = b"x") -> Part:
    return Part(job.id, job.attempt, kind, content)


async def relay(pool: Pool, *parts: Part, gateway: str = GATEWAY) -> Relayed:
    (relayed,) = (await pool.store.turn("a", relays=[Relay(gateway, parts)])).relayed
    return relayed


async def second_attempt(pool: Pool, by: str = "b") -> tuple[ClaimedJob, ClaimedJob]:
    """A job that `a` lost and another unit, or `a` again, runs now, as each of them knows it."""
    await pool.unit("a", "b")
    first = await pool.one("a")
    await pool.requeue("a", first)
    (second,) = (await pool.claim(by)).jobs
    return first, second


async def forgotten_claim(pool: Pool) -> tuple[ClaimedJob, ClaimedJob]:
    """A job whose claim by `a` Redis forgot with its last second, and that `b` claimed since."""
    await pool.unit("a", "b")
    first = await pool.one("a")
    await pool.requeue("a", first)
    await pool.redis("HSET", pool.keys.job(first.id), "attempt", 0)
    (second,) = (await pool.claim("b")).jobs
    assert second.attempt == first.attempt
    return first, second


# relay


async def test_parts_of_several_jobs_travel_in_one_batch(pool: Pool) -> None:
    await pool.unit("a")
    one, two = await pool.one("a"), await pool.one("a")
    relayed = await relay(pool, part(one, "head", b"{}"), part(one), part(two, content=b"\xff\n"))
    assert relayed == Relayed(gone=False, superseded=())
    assert await pool.replies() == [
        {f"{one.id}:1:head": b"{}", f"{one.id}:1:chunk": b"x", f"{two.id}:1:chunk": b"\xff\n"}
    ]


async def test_a_gateway_reads_the_parts_as_they_were_sent(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    sent = [part(job, "head", b"{}"), part(job), part(job, "end", b"{}")]
    await relay(pool, *sent)
    last, batches = await pool.store.read_replies(GATEWAY, "0", 1.0)
    assert [batch for batch in batches if batch] == [sent]
    assert await pool.store.read_replies(GATEWAY, last, 0.01) == (last, [])


async def test_the_head_sets_the_time_of_the_first_byte(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    clock.advance(1)
    await relay(pool, part(job, "head"))
    clock.advance(1)
    await relay(pool, part(job))
    assert int((await pool.job(job.id))["first_byte_ms"]) == clock() - 1000


async def test_a_whole_answer_has_its_first_byte_with_its_end(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    clock.advance(1)
    parts = (part(job, "head"), part(job), part(job, "end"))
    await pool.store.turn("a", finishes=[replace(pool.finished(job), parts=parts)])
    assert int((await pool.job(job.id))["first_byte_ms"]) == clock()


async def test_a_job_that_ends_without_an_answer_has_no_first_byte(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.finish("a", job, outcome="expired")
    assert "first_byte_ms" not in await pool.job(job.id)


async def test_a_superseded_attempt_writes_nothing_and_is_named(pool: Pool) -> None:
    first, _ = await second_attempt(pool)
    assert await relay(pool, part(first), part(first, "end")) == Relayed(
        gone=False, superseded=(first.id,)
    )
    assert await pool.replies() == []
    assert "first_byte_ms" not in await pool.job(first.id)


async def test_a_job_of_two_superseded_attempts_is_named_once(pool: Pool) -> None:
    first, second = await second_attempt(pool, by="a")
    await pool.finish("a", second)
    relayed = await relay(pool, part(first), part(second))
    assert relayed.superseded == (first.id,)


async def test_a_superseded_attempt_does_not_hold_back_other_jobs(pool: Pool) -> None:
    first, _ = await second_attempt(pool)
    other = await pool.one("a")
    relayed = await relay(pool, part(first), part(other))
    assert relayed.superseded == (first.id,)
    assert await pool.replies() == [{f"{other.id}:1:chunk": b"x"}]


@pytest.mark.parametrize("newest_first", [True, False])
async def test_of_two_attempts_in_one_batch_only_the_running_one_writes(
    pool: Pool, *, newest_first: bool
) -> None:
    first, second = await second_attempt(pool, by="a")
    parts = [part(first, content=b"old"), part(second, content=b"new")]
    relayed = await relay(pool, *(reversed(parts) if newest_first else parts))
    assert relayed.superseded == (first.id,)
    assert await pool.replies() == [{f"{second.id}:2:chunk": b"new"}]


async def test_the_same_attempt_of_another_unit_writes_nothing(pool: Pool) -> None:
    first, second = await forgotten_claim(pool)
    assert (await relay(pool, part(first))).superseded == (first.id,)
    assert await pool.finish("a", first) == ["SUPERSEDED"]
    assert await pool.store.renew("a", [(first.id, first.attempt)]) == (first.id,)
    assert await pool.replies() == []
    assert await pool.finish("b", second) == ["OK"]


async def test_a_finished_job_writes_nothing_more(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.finish("a", job)
    assert (await relay(pool, part(job))).superseded == (job.id,)
    assert await pool.replies() == []


async def test_a_gateway_without_a_stream_is_gone_and_none_is_made(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    assert await relay(pool, part(job), gateway="gone") == Relayed(gone=True, superseded=())
    assert await pool.redis("EXISTS", pool.keys.reply("gone")) == 0


async def test_a_gone_gateway_still_names_the_superseded(pool: Pool) -> None:
    first, second = await second_attempt(pool, by="a")
    relayed = await relay(pool, part(first), part(second), gateway="gone")
    assert relayed == Relayed(gone=True, superseded=(first.id,))


# finish


@pytest.mark.parametrize("outcome", ["ok", "failed", "cancelled", "expired"])
async def test_a_job_is_finished_once(pool: Pool, clock: Clock, outcome: Outcome) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    clock.advance(3)
    assert await pool.finish("a", job, outcome=outcome) == ["OK"]
    known = await pool.job(job.id)
    assert (known["state"], known["outcome"], known["status"]) == ("finished", outcome, "200")
    assert int(known["finished_ms"]) == clock()
    assert await pool.finish("a", job, outcome="failed") == ["SUPERSEDED"]
    assert (await pool.job(job.id))["outcome"] == outcome
    ended = await pool.events("finished", "cancelled", "expired")
    assert [(event["job"], event["outcome"]) for event in ended] == [(job.id, outcome)]


async def test_finish_frees_the_slot_the_entry_and_the_body(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.finish("a", job)
    assert await pool.active("a") == {"short": 0, "long": 0}
    assert await pool.leases("a") == {}
    assert await pool.redis("XLEN", pool.keys.queue("short")) == 0
    assert await pool.consumers("short") == {}
    assert await pool.redis("HEXISTS", pool.keys.job(job.id), "body") == 0
    ttl_ms = await pool.redis("PTTL", pool.keys.job(job.id))
    assert 0 < ttl_ms <= pool.settings.job_ttl_s * 1000


async def test_a_unit_is_idle_since_its_last_job_ended(pool: Pool, clock: Clock) -> None:
    await pool.unit("a")
    one, two = await pool.one("a"), await pool.one("a")
    clock.advance(1)
    await pool.finish("a", one)
    assert await pool.idle_since("a") is None
    clock.advance(1)
    await pool.finish("a", two)
    assert await pool.idle_since("a") == clock()


async def test_the_counters_say_what_the_leases_hold_all_the_way(pool: Pool) -> None:
    await pool.unit("a", role="long")
    jobs = [await pool.one("a", "long") for _ in range(3)]
    await pool.unit("a", role="short")
    jobs += [await pool.one("a", "short") for _ in range(2)]
    for job in jobs:
        await pool.check_counts()
        await pool.finish("a", job)
        await pool.finish("a", job)
    assert await pool.active("a") == {"short": 0, "long": 0}


async def test_a_superseded_attempt_cannot_finish(pool: Pool) -> None:
    first, second = await second_attempt(pool)
    end = Part(first.id, first.attempt, "end", b"late")
    late = pool.finished(first, parts=(end,))
    assert (await pool.store.turn("a", finishes=[late])).finished == ("SUPERSEDED",)
    assert await pool.replies() == []
    assert await pool.active("b") == {"short": 1, "long": 0}
    assert await pool.finish("b", second) == ["OK"]


async def test_finish_hands_over_the_last_parts_in_one_batch(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    end = json.dumps({"outcome": "ok"}).encode()
    parts = (part(job, "head", b"{}"), part(job), part(job, "end", end))
    turn = await pool.store.turn("a", finishes=[pool.finished(job, parts=parts)])
    assert turn.finished == ("OK",)
    (batch,) = await pool.replies()
    assert list(batch.items()) == [
        (f"{job.id}:1:head", b"{}"),
        (f"{job.id}:1:chunk", b"x"),
        (f"{job.id}:1:end", end),
    ]


async def test_a_job_whose_gateway_is_gone_is_finished_all_the_same(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    await pool.store.forget(GATEWAY)
    finish = pool.finished(job, parts=(part(job, "end"),))
    assert (await pool.store.turn("a", finishes=[finish])).finished == ("GONE",)
    assert (await pool.job(job.id))["state"] == "finished"
    assert await pool.active("a") == {"short": 0, "long": 0}


async def test_tokens_and_reason_can_be_read_after_the_end(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    finish = replace(
        pool.finished(job, "failed"), reason="unit lost", prompt_tokens=7, completion_tokens=9
    )
    await pool.store.turn("a", finishes=[finish])
    known = await pool.job(job.id)
    assert (known["reason"], known["prompt_tokens"], known["completion_tokens"]) == (
        "unit lost",
        "7",
        "9",
    )


async def test_a_turn_relays_then_finishes_then_claims(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    (waiting,) = await pool.submit()
    turn = await pool.store.turn(
        "a",
        relays=[Relay(GATEWAY, (part(job),))],
        finishes=[pool.finished(job, parts=(part(job, "end"),))],
        claim=True,
    )
    assert turn.relayed == (Relayed(gone=False, superseded=()),)
    assert turn.finished == ("OK",)
    assert turn.claim is not None
    assert [claimed.id for claimed in turn.claim.jobs] == [waiting]
    assert [list(batch) for batch in await pool.replies()] == [
        [f"{job.id}:1:chunk"],
        [f"{job.id}:1:end"],
    ]


async def test_an_empty_turn_does_nothing(pool: Pool) -> None:
    assert (await pool.store.turn("a")).claim is None


# A relay whose reply was lost


async def numbered(pool: Pool, job: ClaimedJob, run: str, number: int) -> Relayed:
    content = f"{run}{number}".encode()
    batch = Relay(GATEWAY, (part(job, content=content),), run=run, number=number)
    return (await pool.store.turn("a", relays=[batch])).relayed[0]


async def test_a_batch_sent_again_is_appended_once(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    for number in (1, 1, 2, 1, 2, 3):
        assert await numbered(pool, job, "x", number) == Relayed(gone=False, superseded=())
    written = [next(iter(batch.values())) for batch in await pool.replies()]
    assert written == [b"x1", b"x2", b"x3"]


async def test_a_restarted_dispatcher_counts_anew(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    for run, number in (("x", 9), ("y", 1), ("y", 1), ("y", 10)):
        await numbered(pool, job, run, number)
    written = [next(iter(batch.values())) for batch in await pool.replies()]
    assert written == [b"x9", b"y1", b"y10"]


async def test_batches_without_a_number_are_all_appended(pool: Pool) -> None:
    await pool.unit("a")
    job = await pool.one("a")
    for _ in range(2):
        await numbered(pool, job, "", 0)
    assert len(await pool.replies()) == 2


async def test_units_count_their_batches_each_for_itself(pool: Pool) -> None:
    await pool.unit("a", "b")
    of_a = await pool.one("a")
    (_,) = await pool.submit()
    (of_b,) = (await pool.claim("b")).jobs
    await numbered(pool, of_a, "x", 5)
    batch = Relay(GATEWAY, (part(of_b),), run="x", number=1)
    await pool.store.turn("b", relays=[batch])
    assert len(await pool.replies()) == 2
