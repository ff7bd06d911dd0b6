"""What becomes of a job when its client leaves, its time is up or the gateway stops."""

import asyncio
from functools import partial
from typing import Any

import httpx
import pytest

from common.models import NewJob, Part
from common.server import Server, admin_app, listen
from gateway.answers import end_now
from gateway.leaving import Leaving
from gateway.mailbox import Mailboxes


async def test_a_client_that_leaves_while_queued_takes_its_job_along(bench: Any) -> None:
    writer = await bench.cut_off()
    shown = await bench.waiting_job()
    writer.close()
    fields = await bench.outcome(shown["id"])
    assert (fields["outcome"], fields["reason"]) == ("cancelled", "client left")
    await bench.no_leaks()


async def test_a_client_that_leaves_while_its_job_runs_has_it_aborted(bench: Any) -> None:
    writer = await bench.cut_off()
    job = await bench.unit.claim()
    await bench.unit.open_stream(job, b"data: 1\n\n")
    await bench.seen(lambda: not bench.unopened)
    writer.close()
    assert await bench.cancel_wake() == (job.id, 1)
    await bench.unit.finish(job, "cancelled")
    await bench.no_leaks()


async def test_a_client_that_leaves_with_a_request_behind_its_stream_ends_that_stream_alone(
    bench: Any,
) -> None:
    writer = await bench.cut_off()
    job = await bench.unit.claim()
    await bench.unit.open_stream(job, b"data: 1\n\n")
    await bench.seen(lambda: not bench.unopened)
    # Complete, and not begun: nobody but the connection knows of it.
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    other = bench.stream()
    of_other = await bench.unit.claim()
    await bench.unit.open_stream(of_other, b"data: 2\n\n")
    response = await other
    writer.transport.abort()

    async def cancelled() -> Any:
        await bench.unit.relay(job, chunk=b"data: 1\n\n")
        return (await bench.views.job(job.id)).get("cancel")

    assert await bench.until(cancelled) == "client left"
    await bench.unit.finish(job, "cancelled")
    await bench.unit.finish(of_other, chunk=b"data: [DONE]\n\n")
    assert await response.aread() == b"data: 2\n\ndata: [DONE]\n\n"
    await bench.no_leaks()


async def test_a_client_that_leaves_with_a_request_behind_is_missed_before_anything_is_written(
    bench: Any,
) -> None:
    writer = await bench.cut_off()
    job = await bench.unit.claim()
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await writer.drain()
    writer.close()

    async def cancelled() -> Any:
        return (await bench.views.job(job.id)).get("cancel")

    assert await bench.until(cancelled) == "client left"
    await bench.unit.finish(job, "cancelled")
    await bench.no_leaks()


async def test_a_client_that_leaves_between_claim_and_first_byte_has_its_job_aborted(
    bench: Any,
) -> None:
    writer = await bench.cut_off()
    job = await bench.unit.claim()
    writer.close()

    async def cancelled() -> Any:
        return (await bench.views.job(job.id)).get("cancel")

    assert await bench.until(cancelled) == "client left"
    await bench.unit.finish(job, "cancelled")
    await bench.no_leaks()


async def test_a_box_may_be_shut_in_the_moment_in_which_its_time_is_up() -> None:
    job = NewJob("job-1", "short", 1, "gw", "/v1/completions", stream=True, body=b"")
    box = Mailboxes(100).open(job)
    shut: list[str] = []

    def shut_it() -> None:
        box.shut("client too slow")
        shut.append(box.shut_because)

    async def run_out() -> None:
        async with asyncio.timeout(None) as limit:
            box.interrupt = partial(end_now, limit)
            loop = asyncio.get_running_loop()
            # The first lets it run out in the next turn of the loop, the second comes behind that.
            loop.call_soon(box.interrupt)
            loop.call_soon(loop.call_soon, shut_it)
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await run_out()
    assert shut == ["client too slow"]


async def test_a_queued_job_past_its_deadline_is_a_504_and_gone(bench: Any) -> None:
    response = await bench.post(headers={"x-adasplit-timeout-s": "0.05"})
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "deadline_exceeded"
    fields = await bench.outcome(response.headers["x-adasplit-job"])
    assert fields["reason"] == "deadline passed"
    await bench.no_leaks()


async def test_a_stream_past_its_deadline_ends_with_an_error_event(bench: Any) -> None:
    asked = bench.stream(headers={"x-adasplit-timeout-s": "3"})
    job = await bench.unit.claim()
    await bench.unit.open_stream(job, b"data: 1\n\n")
    received = await (await asked).aread()
    assert received.startswith(b"data: 1\n\ndata: ")
    assert b"deadline_exceeded" in received
    assert b"[DONE]" not in received
    await bench.unit.finish(job, "cancelled")
    await bench.no_leaks()


async def test_a_timeout_above_the_setting_is_bounded_by_it(start: Any) -> None:
    async with start(request_timeout_s=0.05) as bench:
        response = await bench.post(headers={"x-adasplit-timeout-s": "1000"})
        assert response.status_code == 504


async def test_a_client_that_does_not_read_loses_its_job_not_the_gateways_memory(
    start: Any,
) -> None:
    async with start(max_unsent_bytes=1_000_000) as bench:
        writer = await bench.cut_off()
        job = await bench.unit.claim()
        await bench.unit.open_stream(job)

        async def cancelled() -> Any:
            await bench.unit.relay(job, chunk=b"x" * 900_000)
            return (await bench.views.job(job.id)).get("cancel")

        assert await bench.until(cancelled) == "client too slow"
        assert sum(box.unsent_bytes for box in bench.boxes) < 2_000_000
        await bench.unit.finish(job, "cancelled")
        writer.close()
        await bench.no_leaks()


async def test_a_client_that_reads_late_gets_every_byte_in_its_place(bench: Any) -> None:
    asked = bench.stream()
    job = await bench.unit.claim()
    await bench.unit.open_stream(job, b"begin ")
    response = await asked
    # More than sockets and buffers hold: some chunks go at once, others have to wait.
    early = [b"%06d" % number * 4_000 for number in range(400)]
    for at in range(0, len(early), 20):
        await bench.unit.relay(job, chunk=b"".join(early[at : at + 20]))
    await bench.seen(lambda: sum(box.unsent_bytes for box in bench.boxes) > 0)
    reading = bench.background(response.aread())
    late = [b"%06d" % number for number in range(400)]
    for chunk in late:
        await bench.unit.relay(job, chunk=chunk)
    await bench.unit.finish(job)
    assert await reading == b"begin " + b"".join([*early, *late])
    await bench.no_leaks()


async def test_a_gateway_that_stops_finishes_open_answers_first(bench: Any) -> None:
    asked = bench.stream()
    job = await bench.unit.claim()
    await bench.unit.open_stream(job, b"data: 1\n\n")
    response = await asked
    bench.stop.set()
    await bench.refuses_connections()
    await bench.unit.finish(job, chunk=b"data: [DONE]\n\n")
    assert await response.aread() == b"data: 1\n\ndata: [DONE]\n\n"
    await bench.running
    assert await bench.reply_streams() == 0


async def test_a_gateway_that_stops_cancels_what_is_not_finished_in_time(start: Any) -> None:
    async with start(drain_s=0.1) as bench:
        waiting = bench.post()
        shown = await bench.waiting_job()
        bench.stop.set()
        response = await waiting
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "stopping"
        await bench.running
        fields = await bench.outcome(shown["id"])
        assert fields["outcome"] == "cancelled"
        assert await bench.reply_streams() == 0


async def test_a_gateway_that_lingers_serves_on_and_closes_each_connection() -> None:
    leaving, closing = asyncio.Event(), asyncio.Event()
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = Server(Leaving(admin_app(lambda: not leaving.is_set()), leaving), listener)
    serving = asyncio.create_task(server.serve_until(closing))
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        before = await client.get("/readyz")
        assert (before.status_code, before.headers.get("connection")) == (200, None)
        leaving.set()
        for _ in range(2):
            after = await client.get("/readyz")
            assert (after.status_code, after.headers["connection"]) == (503, "close")
    closing.set()
    await serving


async def test_a_connection_made_before_the_gateway_stopped_is_still_served(bench: Any) -> None:
    url = httpx.URL(bench.url)
    connections = [await asyncio.open_connection(url.host, url.port) for _ in range(20)]
    bench.stop.set()
    for reader, writer in connections:
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()
    await bench.running


async def test_a_connection_that_never_asks_does_not_hold_the_gateway_up(bench: Any) -> None:
    url = httpx.URL(bench.url)
    _, writer = await asyncio.open_connection(url.host, url.port)
    bench.stop.set()
    await bench.running
    writer.close()


async def test_a_client_that_stops_reading_loses_its_job_after_a_while(start: Any) -> None:
    async with start(client_stall_s=0.2) as bench:
        writer = await bench.cut_off()
        job = await bench.unit.claim()
        await bench.unit.open_stream(job)

        async def cancelled() -> Any:
            # More than the kernel and the server's own buffers take, far less than the limit.
            await bench.unit.relay(job, chunk=b"x" * 50_000)
            return (await bench.views.job(job.id)).get("cancel")

        assert await bench.until(cancelled) == "client too slow"
        await bench.unit.finish(job, "cancelled")
        writer.close()
        await bench.no_leaks()


async def test_a_client_that_reads_steadily_is_served_however_long_it_takes(start: Any) -> None:
    async with start(client_stall_s=20.0) as bench:
        asked = bench.stream()
        job = await bench.unit.claim()
        await bench.unit.open_stream(job, b"data: 0\n\n")
        response = await asked
        lines = response.aiter_raw()
        received = await anext(lines)
        for number in range(1, 5):
            await bench.unit.relay(job, chunk=b"data: %d\n\n" % number)
            received += await anext(lines)
        await bench.unit.finish(job)
        assert received == b"".join(b"data: %d\n\n" % number for number in range(5))
        assert (await bench.outcome(job.id))["outcome"] == "ok"
        await response.aclose()


def test_a_box_counts_from_the_first_byte_that_waits() -> None:
    boxes = Mailboxes(100)
    box = boxes.open(NewJob("job-1", "short", 1, "gw", "/v1/completions", stream=True, body=b""))
    box.deliver(Part("job-1", 1, "head", b'{"status": 200}'))
    boxes.shut_stalled(0.0)
    box.begin()
    boxes.shut_stalled(0.0)
    assert box.shut_because == ""
    box.deliver(Part("job-1", 1, "chunk", b"x", 0))
    boxes.shut_stalled(3600.0)
    assert box.shut_because == ""
    box.take()
    boxes.shut_stalled(0.0)
    assert box.shut_because == ""
    box.deliver(Part("job-1", 1, "chunk", b"y", 1))
    boxes.shut_stalled(0.0)
    assert box.shut_because == "client too slow"


def test_what_is_told_again_waits_for_no_client() -> None:
    boxes = Mailboxes(100)
    box = boxes.open(NewJob("job-1", "short", 1, "gw", "/v1/completions", stream=True, body=b""))
    box.deliver(Part("job-1", 1, "head", b'{"status": 200}'))
    box.begin()
    box.deliver(Part("job-1", 1, "chunk", b"x", 0))
    box.take()
    box.deliver(Part("job-1", 1, "chunk", b"x", 0))
    boxes.shut_stalled(0.0)
    assert box.shut_because == ""
