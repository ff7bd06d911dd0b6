"""The baseline as its clients and its units see it."""

import asyncio

import pytest

from tests.baseline.conftest import GENEROUS_S, WHOLE, Bench, Start


def in_flight(state: dict[str, dict[str, dict[str, dict[str, int]]]]) -> int:
    return sum(sum(unit["active"].values()) for unit in state["units"].values())


async def read(bench: Bench, **more: object) -> bytes:
    async with bench.post(**more) as answer:
        body: bytes = await answer.read()
        return body


async def test_a_stream_arrives_as_the_unit_sent_it(start: Start) -> None:
    bench = await start("round-robin", units=1)
    bench.units[0].go.set()
    async with bench.post(max_tokens=2, odd=[1]) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-adasplit-unit"] == "unit-1"
        assert answer.headers["x-adasplit-class"] == "short"
        assert int(answer.headers["x-adasplit-queue-ms"]) >= 0
        assert await answer.read() == b"".join(WHOLE)
    assert bench.units[0].bodies[0]["odd"] == [1]
    assert in_flight(await bench.until(lambda state: in_flight(state) == 0)) == 0


async def test_completions_go_to_their_own_path(start: Start) -> None:
    bench = await start("fifo", units=1)
    bench.units[0].go.set()
    url = f"{bench.url}/v1/completions"
    async with bench.session.post(url, json={"model": "m", "prompt": [1] * 5000}) as answer:
        assert answer.headers["x-adasplit-class"] == "long"
    assert bench.units[0].paths == ["/v1/completions"]


async def test_a_class_waits_for_its_own_units(start: Start) -> None:
    bench = await start("static", units=2, short=1, worker_concurrency_limit=1)
    chats = [asyncio.create_task(read(bench)) for _ in range(2)]
    await bench.until(lambda state: state["queues"]["short"]["depth"] == 1)
    async with asyncio.timeout(GENEROUS_S):
        await bench.units[0].begun.wait()
    state = await bench.get("/v1/state")
    assert state["units"]["unit-1"] == {
        "role": "short",
        "alive": True,
        "active": {"short": 1, "long": 0},
        "limits": {"short": 1, "long": 1},
        "url": bench.units[0].url,
    }
    assert state["queues"]["short"]["oldest_s"] >= 0
    document = asyncio.create_task(read(bench, headers={"x-adasplit-class": "long"}))
    async with asyncio.timeout(GENEROUS_S):
        await bench.units[1].begun.wait()
    for unit in bench.units:
        unit.go.set()
    assert await asyncio.gather(*chats, document) == [b"".join(WHOLE)] * 3
    assert len(bench.units[0].bodies) == 2


async def test_a_balancer_lets_nothing_wait(start: Start) -> None:
    bench = await start("least-in-flight", units=2, worker_concurrency_limit=1)
    requests = [asyncio.create_task(read(bench)) for _ in range(6)]
    state = await bench.until(lambda state: in_flight(state) == 6)
    assert [unit["active"]["short"] for unit in state["units"].values()] == [3, 3]
    assert state["queues"]["short"]["depth"] == 0
    assert state["units"]["unit-1"]["limits"] == {"short": None, "long": None}
    for unit in bench.units:
        unit.go.set()
    await asyncio.gather(*requests)


async def test_a_long_prompt_makes_a_long_job(start: Start) -> None:
    bench = await start("round-robin", units=1)
    bench.units[0].go.set()
    async with bench.post(prompt="the " * 4096) as answer:
        assert answer.headers["x-adasplit-class"] == "long"
    async with bench.post(prompt="the " * 4095) as answer:
        assert answer.headers["x-adasplit-class"] == "short"


async def test_a_client_that_leaves_aborts_its_call_at_the_unit(start: Start) -> None:
    bench = await start("round-robin", units=1)
    leaving = asyncio.create_task(read(bench))
    async with asyncio.timeout(GENEROUS_S):
        await bench.units[0].begun.wait()
        leaving.cancel()
        await bench.units[0].aborted.wait()
    await bench.until(lambda state: in_flight(state) == 0)


async def test_a_client_that_leaves_the_queue_makes_way(start: Start) -> None:
    bench = await start("fifo", units=1, worker_concurrency_limit=1)
    first = asyncio.create_task(read(bench))
    async with asyncio.timeout(GENEROUS_S):
        await bench.units[0].begun.wait()
    leaving = asyncio.create_task(read(bench))
    await bench.until(lambda state: state["queues"]["short"]["depth"] == 1)
    leaving.cancel()
    await bench.until(lambda state: state["queues"]["short"]["depth"] == 0)
    bench.units[0].go.set()
    assert await first == b"".join(WHOLE)
    assert len(bench.units[0].bodies) == 1


async def test_a_unit_that_fails_is_a_502(start: Start) -> None:
    bench = await start("round-robin", units=1)
    bench.units[0].status = 503
    bench.units[0].go.set()
    async with bench.post() as answer:
        assert answer.status == 502
        assert (await answer.json())["error"]["code"] == "unit_failed"
        assert answer.headers["x-adasplit-unit"] == "unit-1"


async def test_what_the_unit_refuses_goes_to_the_client(start: Start) -> None:
    bench = await start("round-robin", units=1)
    bench.units[0].status = 400
    bench.units[0].go.set()
    async with bench.post() as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "own"


async def test_a_unit_lost_inside_a_stream_ends_it_with_an_error_event(start: Start) -> None:
    bench = await start("round-robin", units=1)
    bench.units[0].chunks = WHOLE[:1]
    bench.units[0].cut = True
    bench.units[0].go.set()
    body = await read(bench)
    assert body.startswith(WHOLE[0])
    assert b"unit_failed" in body
    assert b"[DONE]" not in body


async def test_a_full_queue_refuses(start: Start) -> None:
    bench = await start("fifo", units=1, worker_concurrency_limit=1, max_queue_depth_short=1)
    waiting = [asyncio.create_task(read(bench)) for _ in range(2)]
    await bench.until(lambda state: state["queues"]["short"]["depth"] == 1)
    async with bench.post() as answer:
        assert answer.status == 429
        assert (await answer.json())["error"]["code"] == "queue_full"
        assert answer.headers["retry-after"] == "1"
    bench.units[0].go.set()
    await asyncio.gather(*waiting)


async def test_a_deadline_that_passes_in_the_queue_is_a_504(start: Start) -> None:
    bench = await start("fifo", units=1, worker_concurrency_limit=1, request_timeout_s=0.2)
    first = asyncio.create_task(read(bench))
    async with asyncio.timeout(GENEROUS_S):
        await bench.units[0].begun.wait()
    async with bench.post() as answer:
        assert answer.status == 504
    bench.units[0].go.set()
    await asyncio.gather(first, return_exceptions=True)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"{}", {"x-adasplit-class": "medium"}, 400),
        (b"x" * 2000, {}, 413),
    ],
)
async def test_a_bad_request_is_refused_at_the_door(
    start: Start, body: bytes, headers: dict[str, str], status: int
) -> None:
    bench = await start("round-robin", units=1, max_body_bytes=1000)
    url = f"{bench.url}/v1/chat/completions"
    async with bench.session.post(url, data=body, headers=headers) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["type"] == "invalid_request_error"
    assert not bench.units[0].bodies


async def test_the_pages_say_what_there_is(start: Start) -> None:
    bench = await start("static", units=2)
    assert await bench.get("/healthz") == {"status": "ok"}
    assert await bench.get("/readyz") == {"status": "ready"}
    models = (await bench.get("/v1/models"))["data"]
    assert [(model["id"], model["max_model_len"]) for model in models] == [("m", 99)]
    assert (await bench.get("/nothing"))["error"]["message"] == "Not Found"
    async with bench.session.get(f"{bench.url}/metrics") as answer:
        page = await answer.text()
    assert 'adasplit_baseline_queue_depth_jobs{class="short"} 0.0' in page
    assert 'adasplit_baseline_running_jobs{class="long",unit="unit-2"} 0.0' in page
