"""What is refused before anything reaches the queue, and how a job is classified."""

import json
from typing import Any

import pytest

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, b"", None),
        (CHAT, b"{", None),
        (CHAT, b"[1]", None),
        (CHAT, b'"\xff"', None),
        (CHAT, {"messages": HELLO}, "model"),
        (CHAT, {"model": 7, "messages": HELLO}, "model"),
        (CHAT, {"model": "m"}, "messages"),
        (CHAT, {"model": "m", "messages": []}, "messages"),
        (CHAT, {"model": "m", "messages": "x"}, "messages"),
        (CHAT, {"model": "m", "messages": ["x"]}, "messages[0]"),
        (CHAT, {"model": "m", "messages": [{"content": "x"}]}, "messages[0].role"),
        (CHAT, {"model": "m", "messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        (CHAT, {"model": "m", "messages": HELLO, "stream": "yes"}, "stream"),
        (CHAT, {"model": "m", "messages": HELLO, "n": 0}, "n"),
        (CHAT, {"model": "m", "messages": HELLO, "n": True}, "n"),
        (CHAT, {"model": "m", "messages": HELLO, "max_tokens": "9"}, "max_tokens"),
        (CHAT, {"model": "m", "messages": HELLO, "max_tokens": 1.5}, "max_tokens"),
        (CHAT, {"model": "m", "messages": HELLO, "temperature": "hot"}, "temperature"),
        (CHAT, {"model": "m", "messages": HELLO, "stop": [1]}, "stop"),
        (CHAT, {"model": "m", "messages": HELLO, "stream_options": 1}, "stream_options"),
        (COMPLETION, {"model": "m"}, "prompt"),
        (COMPLETION, {"model": "m", "prompt": []}, "prompt"),
        (COMPLETION, {"model": "m", "prompt": {"x": 1}}, "prompt"),
        (COMPLETION, {"model": "m", "prompt": [1, "x"]}, "prompt"),
        (COMPLETION, {"model": "m", "prompt": [[1], []]}, "prompt"),
        (COMPLETION, {"model": "m", "prompt": [True]}, "prompt"),
    ],
)
async def test_a_malformed_request_is_a_400_that_names_the_field(
    bench: Any, path: str, body: Any, param: str | None
) -> None:
    response = await bench.post(body, path=path)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert "x-adasplit-job" not in response.headers


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-adasplit-class", "medium"),
        ("x-adasplit-class", ""),
        ("x-adasplit-timeout-s", "soon"),
        ("x-adasplit-timeout-s", "0"),
        ("x-adasplit-timeout-s", "-1"),
        ("x-adasplit-timeout-s", "nan"),
        ("x-adasplit-timeout-s", "inf"),
    ],
)
async def test_a_wrong_header_is_a_400_that_names_it(bench: Any, header: str, value: str) -> None:
    response = await bench.post(headers={header: value})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == header


async def test_a_model_that_no_unit_serves_is_a_404(bench: Any) -> None:
    response = await bench.post({"model": "other", "messages": HELLO})
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "model_not_found")


async def test_any_model_is_accepted_while_no_unit_says_what_it_serves(bench: Any) -> None:
    await bench.unit.register(models="")
    await bench.seen(lambda: not bench.gateway._watcher.models)
    asked = bench.post({"model": "other", "messages": HELLO})
    await bench.unit.answer(await bench.unit.claim(), b"{}")
    assert (await asked).status_code == 200


async def test_a_body_that_declares_too_much_is_a_413(start: Any) -> None:
    async with start(max_body_bytes=2000) as bench:
        response = await bench.post(b" " * 2001)
        assert response.status_code == 413
        assert response.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_that_becomes_too_long_without_saying_so_is_a_413(start: Any) -> None:
    async def chunks() -> Any:
        for _ in range(30):
            yield b" " * 100

    async with start(max_body_bytes=2000) as bench:
        response = await bench.client.post(CHAT, content=chunks())
        assert response.status_code == 413


async def test_without_a_live_unit_requests_are_refused_with_a_503(bench: Any) -> None:
    await bench.store.leave("unit-1")
    await bench.seen(lambda: not bench.gateway._watcher.live_units)
    response = await bench.post()
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "no_units"
    assert 1 <= int(response.headers["retry-after"]) < 120
    assert (await bench.client.get("/readyz")).status_code == 503


async def test_a_full_queue_is_a_429_with_a_time_to_come_back(start: Any) -> None:
    async with start(max_queue_depth_short=1) as bench:
        waiting = bench.post()

        async def queued() -> Any:
            return (await bench.views.pool()).queues["short"].depth == 1

        await bench.until(queued)
        response = await bench.post()
        assert response.status_code == 429
        error = response.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
        assert 1 <= int(response.headers["retry-after"]) < 120
        assert response.headers["x-adasplit-job"].startswith("job-")
        await bench.unit.answer(await bench.unit.claim(), b"{}")
        assert (await waiting).status_code == 200
        await bench.no_leaks()


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nothing", "GET", 404),
        (CHAT, "GET", 405),
        ("/v1/models", "POST", 405),
        (CHAT + "/", "POST", 404),
    ],
)
async def test_what_the_framework_refuses_has_the_same_shape(
    bench: Any, path: str, method: str, status: int
) -> None:
    response = await bench.client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_what_is_refused_at_the_door_touches_redis_not_at_all(bench: Any) -> None:
    await bench.post(b"{")
    await bench.post({"model": "other", "messages": HELLO})
    assert await bench.views.events() == []


@pytest.mark.parametrize(
    ("body", "path", "tokens", "job_class"),
    [
        ({"prompt": "x" * 400}, COMPLETION, 100, "short"),
        ({"prompt": "x" * 40_000}, COMPLETION, 10_000, "long"),
        ({"prompt": "\u00e4" * 400}, COMPLETION, 200, "short"),
        ({"prompt": ["x" * 400, "y" * 400]}, COMPLETION, 200, "short"),
        ({"prompt": [1] * 4095}, COMPLETION, 4095, "short"),
        ({"prompt": [1] * 4096}, COMPLETION, 4096, "long"),
        ({"prompt": [[1] * 4000, [2] * 4000]}, COMPLETION, 8000, "long"),
        ({"messages": [{"role": "user", "content": "x" * 40_000}]}, CHAT, 10_000, "long"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 40_000}]}]},
            CHAT, 10_000, "long",
        ),
    ],
)  # fmt: skip
async def test_the_length_of_the_prompt_decides_the_class(
    bench: Any, body: dict[str, Any], path: str, tokens: int, job_class: str
) -> None:
    asked = bench.post({"model": "m"} | body, path=path)
    shown = await bench.waiting_job()
    assert (shown["class"], shown["tokens"]) == (job_class, str(tokens))
    asked.cancel()


async def test_the_header_decides_the_class_before_the_length(bench: Any) -> None:
    asked = bench.post(headers={"x-adasplit-class": "long"})
    shown = await bench.waiting_job()
    assert shown["class"] == "long"
    asked.cancel()


async def test_a_live_override_moves_the_threshold(bench: Any) -> None:
    await bench.override(long_threshold_tokens="10")
    await bench.seen(lambda: bench.gateway._watcher.policy.long_threshold_tokens == 10)
    asked = bench.post({"model": "m", "prompt": [1] * 10}, path=COMPLETION)
    assert (await bench.waiting_job())["class"] == "long"
    asked.cancel()


async def test_a_wrong_override_is_ignored_and_the_others_hold(bench: Any) -> None:
    await bench.override(long_threshold_tokens="10", qhap_interval_s="never")
    await bench.seen(lambda: bench.gateway._watcher.policy.long_threshold_tokens == 10)
    assert bench.gateway._watcher.policy.qhap_interval_s == 0.5


async def test_usage_that_units_report_moves_the_estimate(bench: Any) -> None:
    before = bench.gateway._counter.bytes_per_token
    asked = bench.post({"model": "m", "prompt": "x" * 9000}, path=COMPLETION)
    await bench.unit.answer(await bench.unit.claim(), b"{}", prompt_tokens=1000)
    assert json.loads((await asked).content) == {}
    assert before < bench.gateway._counter.bytes_per_token < 9
