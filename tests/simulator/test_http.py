"""The OpenAI API of a running unit, seen through the official client."""

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest

from tests.simulator.conftest import LIMIT_S, MODEL, RunningUnit

HELLO: Any = [{"role": "user", "content": "hello there"}]


async def events(unit: RunningUnit, path: str, **body: Any) -> list[str]:
    """What stands behind `data: ` in the events of a streamed answer."""
    async with (
        httpx.AsyncClient(base_url=unit.url, timeout=LIMIT_S) as client,
        client.stream("POST", path, json={"stream": True, **body}) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        text = (await answer.aread()).decode()
    assert text.endswith("\n\n")
    parts = text.removesuffix("\n\n").split("\n\n")
    assert all(part.startswith("data: ") for part in parts)
    return [part.removeprefix("data: ") for part in parts]


async def test_a_chat_answer_has_text_usage_and_a_reason(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=5, extra_body={"ignore_eos": True}
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "length"
    assert choice.message.role == "assistant"
    assert len((choice.message.content or "").split()) == 5
    assert answer.usage is not None
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (2, 5, 7)


async def test_a_streamed_chat_says_the_same_as_one_that_is_not(
    client: openai.AsyncOpenAI,
) -> None:
    whole = await client.chat.completions.create(model=MODEL, messages=HELLO)
    stream = await client.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage.model_copy(update={"prompt_tokens_details": None})  # type: ignore[union-attr]  # present in every whole answer


async def test_a_chat_stream_has_the_chunks_of_vllm(unit: RunningUnit) -> None:
    found = await events(
        unit,
        "/v1/chat/completions",
        messages=HELLO,
        max_tokens=3,
        ignore_eos=True,
        stream_options={"include_usage": True},
    )
    assert found.pop() == "[DONE]"
    *chunks, last = map(json.loads, found)
    assert {(chunk["id"], chunk["object"], chunk["model"]) for chunk in (*chunks, last)} == {
        (last["id"], "chat.completion.chunk", MODEL)
    }
    assert last["id"].startswith("chatcmpl-")
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 2, "total_tokens": 5, "completion_tokens": 3}
    assert all("usage" not in chunk for chunk in chunks)
    first, *tokens = [chunk["choices"][0] for chunk in chunks]
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert len(tokens) == 3
    assert [token["finish_reason"] for token in tokens] == [None, None, "length"]
    assert all(token["delta"].keys() == {"content"} for token in tokens)


async def test_a_completion_stream_has_the_chunks_of_vllm(unit: RunningUnit) -> None:
    found = await events(unit, "/v1/completions", prompt="one two", max_tokens=2, ignore_eos=True)
    assert found.pop() == "[DONE]"
    chunks = list(map(json.loads, found))
    assert [chunk["object"] for chunk in chunks] == ["text_completion"] * 2
    assert [chunk["usage"] for chunk in chunks] == [None, None]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "length"]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks).count(" ") == 2


async def test_continuous_usage_counts_up(unit: RunningUnit) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    found = await events(
        unit,
        "/v1/chat/completions",
        messages=HELLO,
        max_tokens=3,
        ignore_eos=True,
        stream_options=options,
    )
    usages = [json.loads(one)["usage"]["completion_tokens"] for one in found[:-1]]
    assert usages == [0, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("a b c", [3]),
        ("w " * 5000, [5000]),
        (["a b", "c"], [2, 1]),
        ([5, 6, 7, 8], [4]),
        ([[5, 6], [7, 8, 9]], [2, 3]),
    ],
)
async def test_every_form_of_prompt_is_counted(
    client: openai.AsyncOpenAI, prompt: Any, tokens: list[int]
) -> None:
    answer = await client.completions.create(
        model=MODEL, prompt=prompt, max_tokens=2, extra_body={"ignore_eos": True}
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(tokens)
    assert answer.usage.completion_tokens == 2 * len(tokens)
    assert [choice.index for choice in answer.choices] == list(range(len(tokens)))


async def test_n_choices_differ_and_each_ends(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=6, n=3, stream=True, extra_body={"ignore_eos": True}
    )
    texts = {0: "", 1: "", 2: ""}
    reasons = []
    async for chunk in stream:
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        reasons += [choice.finish_reason] if choice.finish_reason else []
    assert reasons == ["length"] * 3
    assert [len(text.split()) for text in texts.values()] == [6, 6, 6]
    assert len(set(texts.values())) == 3


async def test_min_tokens_without_a_limit_is_a_lower_bound(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=MODEL, messages=HELLO, extra_body={"min_tokens": 300}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens >= 300


async def test_min_tokens_equal_to_max_tokens_is_exact(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=MODEL, messages=HELLO, max_completion_tokens=300, extra_body={"min_tokens": 300}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 300


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_string_ends_the_answer_before_it(
    unit: RunningUnit,
    stream: bool,  # noqa: FBT001 - pytest passes parameters by name
) -> None:
    body: dict[str, Any] = {"prompt": "tell me", "max_tokens": 40, "ignore_eos": True}
    text = (await unit.post("/v1/completions", body)).json()["choices"][0]["text"]
    words = text.split()
    stop = f"{words[4][-1]} {words[5]}"
    if stream:
        chunks = await events(unit, "/v1/completions", **body, stop=stop)
        choices = [json.loads(one)["choices"][0] for one in chunks[:-1]]
    else:
        answer = await unit.post("/v1/completions", {**body, "stop": [stop, "never"]})
        choices = answer.json()["choices"]
    assert "".join(choice["text"] for choice in choices) == text[: text.index(stop)]
    assert (choices[-1]["finish_reason"], choices[-1]["stop_reason"]) == ("stop", stop)


async def test_equal_requests_get_equal_answers_and_seeds_tell_them_apart(
    client: openai.AsyncOpenAI,
) -> None:
    async def ask(seed: int) -> str | None:
        answer = await client.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=20, seed=seed, extra_body={"ignore_eos": True}
        )
        return answer.choices[0].message.content

    first, again, other = [await ask(seed) for seed in (1, 1, 2)]
    assert first == again != other


async def test_logprobs_come_with_every_token(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=MODEL,
        messages=HELLO,
        max_tokens=4,
        logprobs=True,
        top_logprobs=1,
        extra_body={"ignore_eos": True},
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    text = "".join(entry.token for entry in logprobs.content)
    assert text == answer.choices[0].message.content
    assert all(entry.logprob <= 0 and len(entry.top_logprobs) == 1 for entry in logprobs.content)


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "words"),
    [
        ("/v1/chat/completions", {"messages": HELLO, "model": "other"}, 404, "NotFoundError",
         "The model `other` does not exist"),
        ("/v1/chat/completions", {}, 400, "Bad Request", "Field required"),
        ("/v1/chat/completions", {"messages": []}, 400, "BadRequestError", "empty"),
        ("/v1/chat/completions", {"messages": "hi"}, 400, "Bad Request", "list"),
        ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 0}, 400, "BadRequestError",
         "max_tokens must be at least 1"),
        ("/v1/chat/completions", {"messages": HELLO, "max_tokens": "5"}, 400, "Bad Request",
         "integer"),
        ("/v1/chat/completions", {"messages": HELLO, "max_tokens": 5, "min_tokens": 6}, 400,
         "BadRequestError", "min_tokens"),
        ("/v1/chat/completions", {"messages": HELLO, "n": 0}, 400, "BadRequestError", "n must"),
        ("/v1/chat/completions", {"messages": HELLO, "stop": [3]}, 400, "Bad Request", "string"),
        ("/v1/chat/completions", {"messages": HELLO, "stream_options": {"include_usage": True}},
         400, "BadRequestError", "stream=True"),
        ("/v1/completions", {}, 400, "BadRequestError", "prompt"),
        ("/v1/completions", {"prompt": [1, -2]}, 400, "BadRequestError", "out of vocabulary"),
        ("/v1/completions", {"prompt": "a " * 131_070}, 400, "BadRequestError",
         "maximum context length is 131072 tokens"),
        ("/v1/completions", {"prompt": "a " * 131_072, "max_tokens": 1}, 400, "BadRequestError",
         "total of 131073 tokens"),
        ("/v1/elsewhere", {}, 404, "NotFoundError", "Not Found"),
        ("/v1/models", {}, 405, "MethodNotAllowedError", "Not Allowed"),
    ],
)  # fmt: skip
async def test_a_refusal_has_the_body_of_vllm(
    unit: RunningUnit, path: str, body: dict[str, Any], status: int, kind: str, words: str
) -> None:
    answer = await unit.post(path, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (status, status, kind)
    assert words in error["message"]


@pytest.mark.parametrize("content", [b"{", b"", b"[1]", b'"x"', b'{"a": "\xff"}'])
async def test_a_body_that_is_no_json_object_is_refused(unit: RunningUnit, content: bytes) -> None:
    async with httpx.AsyncClient(base_url=unit.url, timeout=LIMIT_S) as client:
        answer = await client.post("/v1/chat/completions", content=content)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "Bad Request")


async def test_the_small_paths_answer_as_vllm_does(
    unit: RunningUnit, client: openai.AsyncOpenAI
) -> None:
    assert (await unit.get("/health")).status_code == 200
    assert (await unit.get("/version")).json() == {"version": "0.26.0"}
    (model,) = (await client.models.list()).data
    assert (model.id, model.owned_by) == (MODEL, "vllm")
    tokenized = (await unit.post("/tokenize", {"prompt": "stain bear unknownword"})).json()
    assert (tokenized["count"], tokenized["max_model_len"]) == (3, 131_072)
    back = await unit.post("/detokenize", {"tokens": tokenized["tokens"][:2]})
    assert back.json() == {"prompt": "stain bear"}
    chat = (await unit.post("/tokenize", {"messages": HELLO})).json()
    assert chat["count"] == 2


async def test_a_client_that_leaves_frees_its_sequence_at_once(unit: RunningUnit) -> None:
    ended = await unit.metric("vllm:request_success_total")
    body = {"messages": HELLO, "ignore_eos": True, "max_tokens": 100_000, "stream": True}
    async with (
        httpx.AsyncClient(base_url=unit.url, timeout=LIMIT_S) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        # Kept, for a stream whose iterator is collected closes its connection.
        parts = answer.aiter_bytes()
        await anext(parts)
        assert await unit.metric("vllm:num_requests_running") == 1
        assert await unit.metric("vllm:kv_cache_usage_perc") > 0
    await unit.until_metric(0, "vllm:num_requests_running")
    assert await unit.metric("vllm:kv_cache_usage_perc") == 0
    generated = await unit.metric("vllm:generation_tokens_total")
    # As with vLLM, nothing counts it; what was generated until then stays counted.
    assert await unit.metric("vllm:request_success_total") == ended
    assert await unit.metric("vllm:e2e_request_latency_seconds_count") == ended
    assert 0 < generated < 100_000


async def test_a_client_that_leaves_a_whole_answer_frees_it_too(unit: RunningUnit) -> None:
    body = {"messages": HELLO, "ignore_eos": True, "max_tokens": 100_000}
    asking = asyncio.create_task(unit.post("/v1/chat/completions", body))
    await unit.until_metric(1, "vllm:num_requests_running")
    asking.cancel()
    await unit.until_metric(0, "vllm:num_requests_running")
    assert await unit.metric("vllm:kv_cache_usage_perc") == 0


async def test_many_streams_at_once_all_end_well(unit: RunningUnit) -> None:
    finished = await unit.metric("vllm:request_success_total", finished_reason="length")
    answers = await asyncio.gather(
        *(
            events(unit, "/v1/completions", prompt=f"{at} a b c", max_tokens=30, ignore_eos=True)
            for at in range(64)
        )
    )
    assert [len(answer) for answer in answers] == [31] * 64
    name = "vllm:request_success_total"
    assert await unit.metric(name, finished_reason="length") == finished + 64
