"""Each fault, as the client of a running unit meets it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from tests.simulator.conftest import LIMIT_S, RunningUnit, StartUnit

BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 10,
    "ignore_eos": True,
}
PATH = "/v1/chat/completions"


@pytest.fixture(autouse=True)
async def no_faults_stay(unit: RunningUnit) -> AsyncIterator[None]:
    """A test leaves neither a rule nor a running request behind."""
    yield
    async with httpx.AsyncClient(base_url=unit.url, timeout=LIMIT_S) as client:
        assert (await client.delete("/simulator/faults")).json() == {"faults": []}
    await unit.until_metric(0, "vllm:num_requests_running")


class Stream:
    """The bytes of a streamed answer up to its end or its failure."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.failure: httpx.HTTPError | None = None

    @property
    def bytes(self) -> bytes:
        return b"".join(self.parts)

    @property
    def tokens(self) -> int:
        return self.bytes.count(b'"delta":{"content":')

    @property
    def done(self) -> bool:
        return self.bytes.endswith(b"data: [DONE]\n\n")


async def stream(unit: RunningUnit, silence_s: float = LIMIT_S, **more: Any) -> Stream:
    found = Stream()
    timeout = httpx.Timeout(LIMIT_S, read=silence_s)
    async with httpx.AsyncClient(base_url=unit.url, timeout=timeout) as client:
        try:
            async with client.stream("POST", PATH, json={**BODY, "stream": True, **more}) as answer:
                async for part in answer.aiter_raw():
                    found.parts.append(part)
        except httpx.HTTPError as failure:
            found.failure = failure
    return found


async def test_without_faults_a_stream_is_whole(unit: RunningUnit) -> None:
    found = await stream(unit)
    assert (found.tokens, found.done, found.failure) == (10, True, None)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_error_status_strikes_as_often_as_told(unit: RunningUnit, status: int) -> None:
    await unit.set_fault(kind="status", status=status, count=2, retry_after_s=7)
    answers = [await unit.post(PATH, BODY) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[0].headers["retry-after"] == "7"
    assert answers[0].json()["error"]["code"] == status


async def test_a_rule_may_be_bound_to_a_path(unit: RunningUnit) -> None:
    await unit.set_fault(kind="status", path="/v1/completions")
    assert (await unit.post(PATH, BODY)).status_code == 200
    assert (await unit.post("/v1/completions", {"prompt": "a"})).status_code == 500


async def test_a_chance_strikes_some_and_the_seed_decides_whom(start_unit: StartUnit) -> None:
    rule = json.dumps({"kind": "status", "probability": 0.5})
    struck = []
    for seed in (1, 1, 2):
        one = start_unit("--speed", "50", "--seed", str(seed), "--fault", rule)
        body = {**BODY, "max_tokens": 1}
        struck.append([(await one.post(PATH, body)).status_code for _ in range(20)])
    assert struck[0] == struck[1] != struck[2]
    assert set(struck[0]) == {200, 500}


async def test_a_request_may_bring_its_own_fault(unit: RunningUnit) -> None:
    own = {"kind": "status", "status": 507}
    assert (await unit.post(PATH, {**BODY, "simulator_fault": own})).status_code == 507
    assert (await unit.post(PATH, BODY)).status_code == 200


async def test_a_hang_before_the_first_byte_sends_nothing_and_computes_nothing(
    unit: RunningUnit,
) -> None:
    generated = await unit.metric("vllm:generation_tokens_total")
    found = await stream(unit, silence_s=0.3, simulator_fault={"kind": "hang"})
    assert isinstance(found.failure, httpx.ReadTimeout)
    assert found.bytes == b""
    assert await unit.metric("vllm:generation_tokens_total") == generated


async def test_a_hang_of_some_seconds_ends_and_the_answer_comes(unit: RunningUnit) -> None:
    found = await stream(unit, simulator_fault={"kind": "hang", "seconds": 2})
    assert (found.tokens, found.done) == (10, True)


async def test_a_hang_in_mid_stream_stops_after_so_many_tokens(unit: RunningUnit) -> None:
    found = Stream()
    fault = {"kind": "hang_mid", "after_tokens": 4}
    body = {**BODY, "stream": True, "simulator_fault": fault}
    async with (
        httpx.AsyncClient(base_url=unit.url, timeout=LIMIT_S) as client,
        client.stream("POST", PATH, json=body) as answer,
    ):
        parts = answer.aiter_raw()
        while found.tokens < 4:
            found.parts.append(await anext(parts))
        with pytest.raises(TimeoutError):
            found.parts.append(await asyncio.wait_for(anext(parts), 0.3))
    assert found.tokens == 4


async def test_a_dropped_connection_answers_nothing(unit: RunningUnit) -> None:
    found = await stream(unit, simulator_fault={"kind": "drop"})
    assert isinstance(found.failure, httpx.NetworkError | httpx.RemoteProtocolError)
    assert found.bytes == b""


@pytest.mark.parametrize("after_tokens", [0, 4])
async def test_a_disconnect_breaks_the_framing_of_the_stream(
    unit: RunningUnit, after_tokens: int
) -> None:
    fault = {"kind": "disconnect", "after_tokens": after_tokens}
    found = await stream(unit, simulator_fault=fault)
    assert isinstance(found.failure, httpx.RemoteProtocolError)
    assert found.tokens == after_tokens


async def test_an_early_end_looks_complete_but_for_done(unit: RunningUnit) -> None:
    found = await stream(unit, simulator_fault={"kind": "eof", "after_tokens": 4})
    assert (found.tokens, found.done, found.failure) == (4, False, None)


async def test_an_end_after_the_last_token_lacks_only_done(unit: RunningUnit) -> None:
    found = await stream(unit, simulator_fault={"kind": "eof", "after_tokens": 99})
    assert (found.tokens, found.done, found.failure) == (10, False, None)
    assert b'"finish_reason":"length"' in found.bytes


async def test_an_error_event_ends_the_stream(unit: RunningUnit) -> None:
    found = await stream(unit, simulator_fault={"kind": "error_event", "after_tokens": 2})
    assert (found.tokens, found.done, found.failure) == (2, True, None)
    assert b'data: {"error":{"message"' in found.bytes


async def test_a_malformed_event_is_neither_utf8_nor_json_and_the_rest_follows(
    unit: RunningUnit,
) -> None:
    found = await stream(unit, simulator_fault={"kind": "malformed", "after_tokens": 2})
    assert (found.tokens, found.done) == (10, True)
    with pytest.raises(UnicodeDecodeError):
        found.bytes.decode()


async def test_split_events_are_whole_again_when_joined(unit: RunningUnit) -> None:
    more = {"max_tokens": 200, "seed": 3}
    found = await stream(unit, **more, simulator_fault={"kind": "split"})
    assert (found.tokens, found.done) == (200, True)
    assert found.bytes.decode()
    assert any(not part.endswith(b"\n\n") for part in found.parts)

    def is_cut_inside_a_character(part: bytes) -> bool:
        return part[-1] >= 0xC0

    assert any(map(is_cut_inside_a_character, found.parts))


@pytest.mark.parametrize(
    ("fault", "silence_s", "expected"),
    [
        ({"kind": "disconnect"}, LIMIT_S, httpx.RemoteProtocolError),
        ({"kind": "eof"}, LIMIT_S, httpx.RemoteProtocolError),
        ({"kind": "hang_mid"}, 0.5, httpx.ReadTimeout),
    ],
)
async def test_a_whole_answer_is_cut_or_held_back(
    unit: RunningUnit, fault: dict[str, Any], silence_s: float, expected: type[Exception]
) -> None:
    timeout = httpx.Timeout(LIMIT_S, read=silence_s)
    async with httpx.AsyncClient(base_url=unit.url, timeout=timeout) as client:
        with pytest.raises(expected):
            await client.post(PATH, json={**BODY, "simulator_fault": fault})


async def test_a_malformed_whole_answer_is_no_json(unit: RunningUnit) -> None:
    answer = await unit.post(PATH, {**BODY, "simulator_fault": {"kind": "malformed"}})
    with pytest.raises(json.JSONDecodeError):
        answer.json()


async def test_the_official_client_sees_a_cut_stream_as_an_error(
    unit: RunningUnit, client: openai.AsyncOpenAI
) -> None:
    await unit.set_fault(kind="disconnect", count=1)
    answer = await client.chat.completions.create(
        model="simulated-llama-3-70b", messages=BODY["messages"], stream=True
    )
    with pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)):
        _ = [chunk async for chunk in answer]


async def test_a_frozen_unit_stops_between_tokens_and_goes_on(unit: RunningUnit) -> None:
    running = asyncio.create_task(stream(unit, max_tokens=2000))
    await unit.until_metric(1, "vllm:num_requests_running")
    await unit.set_fault(kind="freeze", seconds=40)
    first = await unit.metric("vllm:generation_tokens_total")
    await unit.get("/health")
    assert await unit.metric("vllm:generation_tokens_total") <= first + 1
    found = await running
    assert (found.tokens, found.done) == (2000, True)
    assert await unit.metric(
        "vllm:inter_token_latency_seconds_bucket", le="0.3"
    ) < await unit.metric("vllm:inter_token_latency_seconds_count")


async def test_an_unready_unit_says_so_and_recovers(unit: RunningUnit) -> None:
    await unit.set_fault(kind="unready", seconds=40)
    assert (await unit.get("/health")).status_code == 503
    assert (await unit.post(PATH, BODY)).status_code == 503
    await unit.until_healthy()


async def test_a_refusing_unit_takes_no_connection_and_recovers(unit: RunningUnit) -> None:
    await unit.set_fault(kind="refuse", seconds=40)
    with pytest.raises(httpx.ConnectError):
        await unit.get("/health")
    await unit.until_healthy()


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"kind": "unknown"},
        {"kind": "status", "status": 200},
        {"kind": "status", "count": "2"},
        {"kind": "status", "colour": 1},
        {"kind": "freeze"},
        [{"kind": "status"}, 3],
        "hang",
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused_and_not_kept(
    unit: RunningUnit, rule: Any
) -> None:
    answer = await unit.post("/simulator/faults", rule)
    assert answer.status_code == 400
    assert (await unit.get("/simulator/faults")).json() == {"faults": []}


async def test_rules_tell_how_often_they_struck(unit: RunningUnit) -> None:
    await unit.set_fault(kind="status", count=3)
    await unit.post(PATH, BODY)
    (rule,) = (await unit.get("/simulator/faults")).json()["faults"]
    assert (rule["count"], rule["hits"]) == (2, 1)
