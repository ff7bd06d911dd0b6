"""What a client sees of real vLLM servers through AdaSplit, and what the engines say of it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from tests.cli.conftest import Up, run_cli, wait_for
from tests.vllm.conftest import Engine
from tests.vllm.model import MAX_MODEL_LEN, MODEL

HELLO: Any = [{"role": "user", "content": "Tell me a story."}]
EXACTLY: Any = {"ignore_eos": True}
_LIMIT_S = 60.0

Engines = dict[str, Engine]


def running(engines: Engines) -> float:
    return sum(engine.metric("vllm:num_requests_running") for engine in engines.values())


def total(engines: Engines, name: str) -> float:
    return sum(engine.metric(name) for engine in engines.values())


async def until(fact: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_for, fact, _LIMIT_S, what)


async def test_an_answer_in_one_piece_is_whole_and_counted(client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, max_tokens=20, extra_body=EXACTLY
    )
    answer = raw.parse()
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage
    assert answer.usage.completion_tokens == 20
    assert answer.usage.prompt_tokens > len(HELLO[0]["content"])
    assert raw.headers["x-adasplit-unit"] in {"unit-1", "unit-2"}
    # The unit knows the request by the job's name.
    assert raw.headers["x-adasplit-job"] in answer.id


async def test_a_streamed_answer_ends_with_its_usage(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=HELLO,
        max_tokens=50,
        stream=True,
        stream_options={"include_usage": True},
        extra_body=EXACTLY,
    )
    chunks = [chunk async for chunk in stream]
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert reasons[-1] == "length"
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    usage = chunks[-1].usage
    assert usage
    assert usage.completion_tokens == 50
    assert any(choice.delta.content for chunk in chunks for choice in chunk.choices)


async def test_an_answer_streamed_and_in_one_piece_is_the_same(client: AsyncOpenAI) -> None:
    asked: Any = {"model": MODEL, "prompt": "Once", "max_tokens": 40, "temperature": 0}
    whole = await client.completions.create(**asked, extra_body=EXACTLY)
    stream = await client.completions.create(**asked, stream=True, extra_body=EXACTLY)
    pieces = [choice.text async for chunk in stream for choice in chunk.choices]
    assert "".join(pieces) == whole.choices[0].text


async def test_a_prompt_of_token_ids_is_counted_exactly(client: AsyncOpenAI) -> None:
    prompt = list(range(10, 210))
    answer = await client.completions.create(
        model=MODEL, prompt=prompt, max_tokens=8, extra_body=EXACTLY
    )
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (200, 8)


async def test_a_burst_is_spread_over_both_engines(client: AsyncOpenAI) -> None:
    async def ask(name: str) -> str:
        raw = await client.chat.completions.with_raw_response.create(
            model=MODEL,
            messages=HELLO,
            max_tokens=100,
            extra_body=EXACTLY,
            extra_headers={"x-adasplit-class": name},
        )
        assert raw.parse().usage
        return raw.headers["x-adasplit-unit"]

    units = await asyncio.gather(*(ask(name) for name in ("short", "long") for _ in range(12)))
    assert set(units) == {"unit-1", "unit-2"}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "in one piece"])
async def test_the_engine_confirms_that_a_request_was_aborted(
    engines: Engines, system: Up, *, stream: bool
) -> None:
    asked = 4000
    await until(lambda: running(engines) == 0, "idle")
    names = ("vllm:generation_tokens_total", "vllm:request_success_total")
    generated, finished = (total(engines, name) for name in names)
    body = {"model": MODEL, "messages": HELLO, "max_tokens": asked, "stream": stream, **EXACTLY}
    async with httpx.AsyncClient(timeout=_LIMIT_S, trust_env=False) as client:
        asking = asyncio.create_task(client.post(f"{system.url}/v1/chat/completions", json=body))
        await until(lambda: running(engines) == 1, "running")
        asking.cancel()
        await asyncio.wait((asking,))
    await until(lambda: running(engines) == 0, "aborted")
    # It was not merely answered: fewer tokens were made, and no request ended.
    assert 0 < total(engines, names[0]) - generated < asked
    assert total(engines, names[1]) == finished
    assert total(engines, "vllm:kv_cache_usage_perc") == 0


async def test_what_the_engine_refuses_comes_as_the_engine_says_it(
    client: AsyncOpenAI, engines: Engines
) -> None:
    prompt = [9_999_999]
    with pytest.raises(BadRequestError) as refused:
        await client.completions.create(model=MODEL, prompt=prompt, max_tokens=2)
    url = f"{engines['unit-1'].url}/v1"
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as straight:
        with pytest.raises(BadRequestError) as said:
            await straight.completions.create(model=MODEL, prompt=prompt, max_tokens=2)
    assert refused.value.response.json() == said.value.response.json()
    with pytest.raises(BadRequestError, match=str(MAX_MODEL_LEN)):
        await client.completions.create(model=MODEL, prompt=[10] * 5000, max_tokens=2)
    with pytest.raises(NotFoundError):
        await client.completions.create(model="another", prompt="x")


async def test_models_are_those_of_the_engines(client: AsyncOpenAI) -> None:
    assert [model.id for model in (await client.models.list()).data] == [MODEL]


async def test_the_monitor_reads_what_the_engines_say(client: AsyncOpenAI, system: Up) -> None:
    async def load() -> None:
        while True:
            await client.chat.completions.create(
                model=MODEL, messages=HELLO, max_tokens=60, extra_body=EXACTLY
            )

    loads = [asyncio.create_task(load()) for _ in range(4)]
    try:
        arguments = ("monitor", "--samples", "4", "--every-s", "1.5", "--json")
        said = await asyncio.to_thread(run_cli, system.environment, *arguments)
    finally:
        for one in loads:
            one.cancel()
        await asyncio.wait(loads)
    assert (said.returncode, said.stderr) == (0, "")
    rows = [json.loads(line) for line in said.stdout.splitlines()][-4:]
    queues, units = rows[:2], rows[2:]
    assert [row["depth"] for row in queues] == [0, 0]
    assert {row["state"] for row in units} == {"ok"}
    never = ("running", "waiting", "kv_cache_usage", "prompt_tokens_total", "active_short")
    assert [row[name] for row in units for name in never if row[name] is None] == []
    assert sum(row["generation_tokens_per_s"] for row in units) > 0
    busy = max(units, key=lambda row: row["generation_tokens_per_s"])
    measured = ("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "e2e_p50_s", "queue_mean_s")
    assert all(busy[name] > 0 for name in measured)


def test_the_pool_knows_what_the_engines_report(system: Up) -> None:
    state = httpx.get(f"{system.url}/v1/state", trust_env=False).json()
    for unit in state["units"].values():
        reported = unit["reported"]
        assert {"unit_running", "unit_waiting", "unit_kv_cache_usage"} <= reported.keys()
