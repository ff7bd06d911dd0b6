"""What a mailbox keeps, drops and refuses."""

import asyncio
import json

import pytest

from common.models import NewJob, Part, PartKind
from gateway.mailbox import Mailbox, Mailboxes, Shut

JOB = NewJob("job-1", "short", 1, "gw-1", "/v1/completions", stream=True, body=b"{}")


def box_of(limit_bytes: int = 100) -> Mailbox:
    return Mailbox(JOB, limit_bytes)


def part(kind: PartKind, content: bytes = b"", attempt: int = 1, offset: int | None = None) -> Part:
    return Part(JOB.id, attempt, kind, content, offset)


def head(attempt: int = 1, unit: str = "unit-1") -> Part:
    fields = {"status": 200, "content_type": "text/event-stream", "attempt": attempt, "unit": unit}
    return part("head", json.dumps(fields).encode(), attempt)


def end(attempt: int = 1, outcome: str = "ok") -> Part:
    return part("end", json.dumps({"outcome": outcome}).encode(), attempt)


def test_parts_of_an_older_attempt_are_dropped() -> None:
    box = box_of()
    box.deliver(head(2))
    box.deliver(part("chunk", b"old", 1))
    box.deliver(end(1, "failed"))
    assert (box.take(), box.end) == (b"", None)


def test_a_newer_attempt_replaces_what_was_not_begun() -> None:
    box = box_of()
    box.deliver(head(1))
    box.deliver(part("chunk", b"old", 1))
    box.deliver(head(2))
    box.deliver(part("chunk", b"new", 2))
    assert box.take() == b"new"
    assert box.head
    assert box.head.attempt == 2


async def test_a_newer_attempt_shuts_what_was_begun() -> None:
    box = box_of()
    box.deliver(head(1))
    box.begin()
    box.deliver(head(2))
    box.deliver(part("chunk", b"new", 2))
    assert box.take() == b""
    with pytest.raises(Shut, match="superseded"):
        await box.changed()


def test_a_second_head_of_the_same_attempt_replaces_what_was_not_begun() -> None:
    box = box_of()
    for unit, content in (("unit-1", b"of one unit"), ("unit-2", b"of another")):
        box.deliver(head(unit=unit))
        box.deliver(part("chunk", content))
    assert box.take() == b"of another"


async def test_a_second_head_of_the_same_attempt_shuts_what_was_begun() -> None:
    box = box_of()
    box.deliver(head())
    box.deliver(part("chunk", b"of one unit"))
    box.begin()
    box.deliver(head(unit="unit-2"))
    box.deliver(part("chunk", b"of another"))
    assert box.take() == b"of one unit"
    with pytest.raises(Shut, match="superseded"):
        box.check()


def test_a_box_that_is_shut_is_shut_once() -> None:
    box = box_of()
    interrupted: list[int] = []
    box.interrupt = lambda: interrupted.append(1)
    box.shut("client left")
    box.shut("forgotten")
    assert (box.shut_because, interrupted) == ("client left", [1])


async def test_several_chunks_come_out_as_one() -> None:
    box = box_of()
    box.deliver(head())
    for text in (b"a", b"b", b"c"):
        box.deliver(part("chunk", text))
    assert box.unsent_bytes == 3
    assert box.take() == b"abc"
    assert box.unsent_bytes == 0


async def test_a_box_that_is_full_is_shut_and_keeps_nothing() -> None:
    box = box_of(limit_bytes=5)
    interrupted: list[bool] = []
    box.interrupt = lambda: interrupted.append(True)
    box.deliver(head())
    box.deliver(part("chunk", b"123456"))
    assert (box.shut_because, box.take(), interrupted) == ("client too slow", b"", [True])


async def test_who_waits_learns_of_a_part_and_of_being_shut() -> None:
    box = box_of()
    box.deliver(head())
    waiting = asyncio.create_task(box.changed())
    asyncio.get_running_loop().call_soon(box.deliver, part("chunk", b"x"))
    await waiting
    waiting = asyncio.create_task(box.changed())
    asyncio.get_running_loop().call_soon(box.shut, "stopping")
    with pytest.raises(Shut, match="stopping"):
        await waiting


def test_what_a_redis_that_forgot_it_is_told_again_comes_once() -> None:
    box = box_of()
    for _ in range(2):
        box.deliver(head())
        box.begin()
        box.deliver(part("chunk", b"abc", offset=0))
    box.deliver(part("chunk", b"bcde", offset=1))
    box.deliver(part("end", b'{"outcome": "ok"}', offset=5))
    assert (box.take(), box.shut_because) == (b"abcde", "")
    assert box.end


@pytest.mark.parametrize(
    "later", [part("chunk", b"x", offset=4), part("end", b'{"outcome": "ok"}', offset=4)]
)
def test_an_answer_with_a_gap_is_not_given(later: Part) -> None:
    box = box_of()
    box.deliver(head())
    box.deliver(part("chunk", b"abc", offset=0))
    box.deliver(later)
    assert (box.shut_because, box.end) == ("lost", None)


def test_bytes_without_a_head_are_a_gap() -> None:
    box = box_of()
    box.deliver(part("chunk", b"abc", offset=0))
    assert box.shut_because == "lost"


def test_the_end_of_a_failed_job_needs_no_bytes() -> None:
    box = box_of()
    box.deliver(end(outcome="dead"))
    assert box.end
    assert box.end.outcome == "dead"


def test_parts_for_nobody_are_dropped() -> None:
    boxes = Mailboxes(100)
    box = boxes.open(JOB)
    boxes.close(JOB.id)
    boxes.deliver(part("chunk", b"x"))
    assert (len(boxes), box.unsent_bytes, JOB.id in boxes) == (0, 0, False)


class Client:
    """Takes what is written, unless it is full."""

    def __init__(self) -> None:
        self.got = b""
        self.full = False

    def write(self, chunk: bytes) -> bool:
        if not self.full:
            self.got += chunk
        return not self.full


async def waiting(box: Mailbox, client: Client) -> "asyncio.Task[None]":
    task = asyncio.create_task(box.changed(client.write))
    await asyncio.sleep(0)
    return task


async def test_chunks_go_to_a_sink_without_waking_who_waits() -> None:
    box, client = box_of(), Client()
    box.deliver(head())
    task = await waiting(box, client)
    for content in (b"one ", b"two ", b""):
        box.deliver(part("chunk", content))
    await asyncio.sleep(0)
    assert (client.got, box.unsent_bytes, task.done()) == (b"one two ", 0, False)
    box.deliver(end())
    await task
    assert box.end


async def test_what_a_sink_does_not_take_waits_and_so_does_all_behind_it() -> None:
    box, client = box_of(), Client()
    box.deliver(head())
    task = await waiting(box, client)
    client.full = True
    box.deliver(part("chunk", b"one "))
    client.full = False
    # Whoever waits has not run yet: what comes now may not overtake.
    box.deliver(part("chunk", b"two"))
    await task
    assert (client.got, box.take()) == (b"", b"one two")
    box.deliver(part("chunk", b"kept"))
    assert (client.got, box.take()) == (b"", b"kept")


async def test_a_sink_gets_only_what_follows_on_what_it_has() -> None:
    box, client = box_of(), Client()
    box.deliver(head())
    task = await waiting(box, client)
    box.deliver(part("chunk", b"abc", offset=0))
    box.deliver(part("chunk", b"bcd", offset=1))
    assert client.got == b"abcd"
    box.deliver(part("chunk", b"x", offset=5))
    with pytest.raises(Shut, match="lost"):
        await task
    assert client.got == b"abcd"


async def test_a_shut_box_gives_a_sink_nothing_more() -> None:
    box, client = box_of(), Client()
    box.deliver(head())
    box.begin()
    task = await waiting(box, client)
    box.deliver(head(2))
    box.deliver(part("chunk", b"of another", 2))
    with pytest.raises(Shut, match="superseded"):
        await task
    assert client.got == b""
