"""Bounds on what a body may hold: checked before the queue hears of it."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from gateway.errors import ApiError
from gateway.requests import parse_request
from gateway.settings import GatewaySettings
from gateway.structure import _count, check_shape, check_size

CHAT: Any = "/v1/chat/completions"
COMPLETION: Any = "/v1/completions"
CONTENT = "messages[0].content"
HELLO = [{"role": "user", "content": "x"}]
SMALL: dict[str, Any] = {
    "max_json_depth": 8, "max_json_objects": 40, "max_messages": 4, "max_prompts": 3,
    "max_text_chars": 300, "max_name_chars": 20, "max_n": 2, "max_best_of": 3,
    "max_output_tokens": 100,
}  # fmt: skip


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": HELLO} | fields


def part(**fields: Any) -> dict[str, Any]:
    return chat(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, fields]}])


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth - 1):
        value = {"x": value}
    return value


BOUNDS = GatewaySettings(**SMALL, _env_file=None).bounds


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, chat(n=3), "n"),
        (CHAT, chat(best_of=4), "best_of"),
        (CHAT, chat(max_tokens=101), "max_tokens"),
        (CHAT, chat(max_completion_tokens=101), "max_completion_tokens"),
        (CHAT, chat(min_tokens=10**18), "min_tokens"),
        (CHAT, b'{"model":"m","messages":[],"seed":123456789012345678901}', "seed"),
        (CHAT, chat(messages=HELLO * 5), "messages"),
        (CHAT, chat(messages=[{"role": "user", "content": "x" * 301}]), "messages"),
        (CHAT, chat(messages=[{"role": "r" * 21, "content": "x"}]), "messages[0].role"),
        (CHAT, chat(model="m" * 21), "model"),
        (CHAT, chat(user="u" * 21), "user"),
        (CHAT, chat(stop=["x", "s" * 21]), "stop"),
        (CHAT, chat(kv_transfer_params={"remote_host": "10.0.0.1"}), "kv_transfer_params"),
        (CHAT, chat(x=nested(9)), None),
        (CHAT, chat(x=[[1]] * 60), None),
        (CHAT, part(type="image_url", image_url={"url": "http://10.0.0.1/"}), CONTENT),
        (CHAT, part(type="image_url", image_url="HTTPS://x/y.png"), CONTENT),
        (CHAT, part(type="video_url", video_url={"url": " file:///etc"}), CONTENT),
        (CHAT, part(type="audio_url", audio_url={"url": "//x/y"}), CONTENT),
        (CHAT, part(type="x", x=[{"y": "ftp://x/y"}]), CONTENT),
        (CHAT, part(type="text", text="x", image_url="gs://x"), CONTENT),
        (COMPLETION, {"model": "m", "prompt": ["x"] * 4}, "prompt"),
        (COMPLETION, {"model": "m", "prompt": [[1]] * 4}, "prompt"),
        (COMPLETION, {"model": "m", "prompt": "x" * 301}, "prompt"),
        (CHAT, b'{"model":"m","messages":[{"role":"user","content":"x"}],"n":1,"n":2}', None),
        (CHAT, b'{"model":"m","messages":[{"role":"u","role":"v","content":"x"}]}', None),
        (CHAT, b'{"model":"m","messages":[{"role":"u","content":"\\ud800"}]}', None),
        (CHAT, b'{"model":"m","messages":[{"role":"u","content":"\xff"}]}', None),
        (CHAT, b'{"model":"m","messages":[],"temperature":NaN}', None),
        (CHAT, b'{"model":"m","messages":[],"temperature":1e999}', None),
        (CHAT, b'{"model":"m","messages":[],"temperature":-Infinity}', None),
        (CHAT, b'{"model":"m"}\x00', None),
        (CHAT, b"[" * 100_000, None),
    ],
)  # fmt: skip
def test_what_is_beyond_a_bound_is_a_400_that_names_the_field(
    path: Any, body: Any, param: str | None
) -> None:
    with pytest.raises(ApiError) as refused:
        parse_request(body if isinstance(body, bytes) else orjson.dumps(body), path, BOUNDS)
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat(n=2, best_of=3, max_tokens=100, max_completion_tokens=None, user="u" * 20)),
        (CHAT, chat(messages=HELLO * 4, stop="s" * 20)),
        (CHAT, chat(x=nested(8))),
        (CHAT, chat(messages=[{"role": "user", "content": "[{" * 150}])),
        (CHAT, chat(messages=[{"role": "user", "content": '":{}\\"' * 40}])),
        (CHAT, part(type="image_url", image_url={"url": "data:image/png;base64,AAAA"})),
        (CHAT, part(type="input_audio", input_audio={"data": "AAAA//AA", "format": "wav"})),
        (CHAT, part(type="thinking", thinking="see: http://x/y, it says so")),
        (COMPLETION, {"model": "m", "prompt": [1] * 300}),
        (COMPLETION, {"model": "m", "prompt": "x" * 300}),
    ],
)
def test_what_is_at_a_bound_passes(path: Any, body: Any) -> None:
    assert parse_request(orjson.dumps(body), path, BOUNDS).model == "m"


def test_media_urls_pass_when_they_are_allowed() -> None:
    bounds = GatewaySettings(media_urls=True, _env_file=None).bounds
    body = part(type="image_url", image_url={"url": "https://x/y.png"})
    assert parse_request(orjson.dumps(body), CHAT, bounds).prompt.pictured


async def test_a_body_is_plain_json_and_says_so(bench: Any) -> None:
    json_type = "application/json; charset=utf-8"
    for headers, status in (
        ({"content-type": "text/plain"}, 415),
        ({"content-type": ""}, 415),
        ({"content-type": "multipart/form-data; boundary=application/json"}, 415),
        ({"content-encoding": "gzip"}, 415),
        ({"content-type": json_type, "content-encoding": "identity"}, 400),
    ):
        answer = await bench.post(b"{}", headers=headers)
        assert answer.status_code == status, headers


async def test_bodies_on_their_way_in_are_bounded_together(start: Any) -> None:
    async with start(max_bodies_bytes=200_000, max_body_bytes=150_000) as bench:
        first = await half_sent(bench, 100_000)
        second = await half_sent(bench, 140_000)
        assert b" 503 " in await second[0].readline()
        for _, writer in (first, second):
            writer.close()
            await writer.wait_closed()
        # What a client that left had sent counts no more.
        await bench.seen(lambda: bench.gateway._admission._incoming_bytes == 0)


async def test_bodies_that_wait_for_their_turn_count_as_well(start: Any) -> None:
    async with start(max_bodies_bytes=120_000, max_body_bytes=150_000) as bench:
        admission = bench.gateway._admission
        async with admission._turns_of_large:
            # Only just long: what is longer would wait for the turn with its reading as well.
            asking = bench.post(b" " * 66_000)
            await bench.seen(lambda: admission._incoming_bytes == 66_000)
            reader, writer = await half_sent(bench, 60_000)
            assert b" 503 " in await reader.readline()
        assert (await asking).status_code == 400
        writer.close()
        await writer.wait_closed()
        await bench.seen(lambda: admission._incoming_bytes == 0)


async def half_sent(bench: Any, size_bytes: int) -> Any:
    url = httpx.URL(bench.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: 149999\r\n\r\n" + b" " * size_bytes
    )
    await bench.seen(lambda: bench.gateway._admission._incoming_bytes >= min(size_bytes, 100_000))
    return reader, writer


@pytest.mark.parametrize("number", [0, 1, 63, 64, 65, 1000])
def test_signs_are_counted_as_python_counts_them(number: int) -> None:
    for text in ("{" * number, "x{y" * number, "{" * number + "x" * 1000, "é{" * number + "ü"):
        assert _count(text, "{") == text.count("{")
        assert _count(text.encode(), b"{") == number


# A long body is looked at in another way.
either_length = pytest.mark.parametrize("padding", [b"", b" " * 70_000], ids=["short", "long"])


@either_length
@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a":{"b":[0,{"c":1,"d":2,"c":3}]}}',
        b'{"a":1,"\\u0061":2}',
        b'{"a:b":"\\":","a:b":":"}',
        # An escaped colon in a text makes up for the one of the key that is lost.
        b'{"x":"\\u003a","a":1,"a":2}',
        b'{"a":[[]],"x":"\\\\u003a","a":1}',
        b'{"a":' + b"[" * 1000 + b"]" * 1000 + b',"a":1}',
    ],
)
def test_a_key_that_stands_twice_is_found_wherever_it_is(body: bytes, padding: bytes) -> None:
    with pytest.raises(ApiError):
        check_shape(orjson.loads(body), body + padding, 64)


@either_length
@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"b":{"a":2},"c":[{"a":1},{"a":1}]}',
        b'{"a":[1,2.5,null,true,"x:y",[3]],"b":[1,2]}',
        b'{"a":"a:a:a","b":"\\":","c":"\\u003a","d":"\\\\u003a"}',
        ' { "a" : ":\u00e9\U0001f600" , "\u00e9:" : [ ] } '.encode(),
    ],
)
def test_keys_that_differ_and_colons_in_texts_are_no_repetition(
    body: bytes, padding: bytes
) -> None:
    check_shape(orjson.loads(body), body + padding, 64)


def test_marks_in_texts_are_no_objects() -> None:
    check_size(orjson.dumps({"a": '[{"\\' * 1000}), 10)
    with pytest.raises(ApiError):
        check_size(orjson.dumps({"a": '[{"\\', "b": [[]] * 40}), 10)
