"""Mixed requests by the official client, through every process, to one outcome each."""

import asyncio
from collections import Counter

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from common.connection import Connection
from common.keys import Keys
from common.models import PoolView
from common.views import Views
from tests.cli.conftest import Up

MODEL = "simulated-llama-3-70b"
LONG_PROMPT = "word " * 5000
LIMIT = 4
PERMANENT = (
    *("queue:", "role:", "active:", "idle_since:", "units", "unit:", "dead", "events"),
    *("gateways", "pulse", "bytes", "stealing", "group:", "models"),
)


async def chat(client: AsyncOpenAI, prompt: str, max_tokens: int) -> tuple[str, int, int]:
    """A streamed chat: its text, its pieces and the completion tokens that `usage` names."""
    text, pieces, tokens = "", 0, 0
    async for event in await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=max_tokens,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    ):
        if event.usage:
            tokens = event.usage.completion_tokens
        if event.choices and event.choices[0].delta.content:
            text += event.choices[0].delta.content
            pieces += 1
    return text, pieces, tokens


async def settled(views: Views) -> PoolView:
    """The pool once nothing waits or runs."""
    async with asyncio.timeout(60):
        while True:
            view = await views.pool()
            waiting = sum(queue.depth for queue in view.queues.values())
            if not waiting and not any(unit.in_flight for unit in view.units):
                return view
            await asyncio.sleep(0.05)  # between two looks


@pytest.mark.parametrize(("prompt", "job_class"), [("Hello there", "short"), (LONG_PROMPT, "long")])
async def test_a_chat_of_each_class_is_answered_streamed_and_not(
    client: AsyncOpenAI, prompt: str, job_class: str
) -> None:
    text, pieces, tokens = await chat(client, prompt, 12)
    assert pieces == tokens == 12

    answer = await client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=12,
        extra_body={"ignore_eos": True},
    )
    assert answer.headers["x-adasplit-class"] == job_class
    whole = answer.parse()
    assert whole.choices[0].message.content == text
    assert whole.usage
    assert whole.usage.completion_tokens == 12


async def test_completions_take_text_and_token_ids(client: AsyncOpenAI) -> None:
    by_text = await client.completions.create(model=MODEL, prompt="a b c", max_tokens=4)
    by_ids = await client.completions.create(model=MODEL, prompt=[5, 6, 7, 8], max_tokens=4)
    assert by_text.usage
    assert by_text.usage.prompt_tokens == 3
    assert by_ids.usage
    assert by_ids.usage.prompt_tokens == 4


async def test_models_are_those_of_the_units(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == [MODEL]


async def test_errors_are_the_clients_own_exceptions(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.completions.create(model="another", prompt="a")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        await client.completions.create(model=MODEL, prompt="a", max_tokens="many")  # type: ignore[call-overload]
    assert wrong.value.param == "max_tokens"


async def test_a_mixed_burst_ends_with_one_outcome_each_and_no_unit_over_its_limit(
    client: AsyncOpenAI, views: Views
) -> None:
    before = len(await views.events())
    prompts = [LONG_PROMPT if i % 6 == 0 else f"chat {i}" for i in range(60)]
    burst = await asyncio.gather(*[chat(client, prompt, 30) for prompt in prompts])
    assert [tokens for _, _, tokens in burst] == [30] * 60
    assert len({text for text, _, _ in burst}) > 50

    await settled(views)
    events = (await views.events())[before:]
    held: Counter[str] = Counter()
    highest = 0
    for event in events:
        if event["event"] in {"claimed", "stolen"}:
            held[event["unit"]] += 1
            highest = max(highest, held[event["unit"]])
        elif event["event"] == "finished":
            held[event["unit"]] -= 1
    assert highest == LIMIT
    finished = [event for event in events if event["event"] == "finished"]
    assert {event["outcome"] for event in finished} == {"ok"}
    assert len({event["job"] for event in finished}) == len(finished) == 60


async def test_a_client_that_leaves_takes_its_job_along(
    system: Up, client: AsyncOpenAI, views: Views
) -> None:
    before = {event["job"] for event in await views.events() if "job" in event}
    body = {"model": MODEL, "prompt": "a", "max_tokens": 5000, "ignore_eos": True, "stream": True}
    async with (
        httpx.AsyncClient(timeout=60) as http,
        http.stream("POST", f"{system.url}/v1/completions", json=body) as answer,
    ):
        job = answer.headers["x-adasplit-job"]
        assert job not in before
        await anext(answer.aiter_bytes())
    await settled(views)
    assert (await views.job(job))["outcome"] == "cancelled"
    # The slots are free for others at once.
    assert (await chat(client, "still there?", 3))[2] == 3


async def test_what_stays_in_redis_is_permanent_by_decision_or_has_a_ttl(
    client: AsyncOpenAI, views: Views, connection: Connection
) -> None:
    await chat(client, "one more", 3)
    await settled(views)
    prefix = f"{Keys().prefix}:"
    names = [name.decode() for name in await connection.command("KEYS", f"{prefix}*")]
    ttls = await connection.commands([["PTTL", name] for name in names])
    for name, ttl in zip(names, ttls, strict=True):
        # Units with free slots stand on the lists of those that wait.
        waits = name.startswith(f"{prefix}hungry:")
        assert ttl > 0 or waits or name.removeprefix(prefix).startswith(PERMANENT), name
