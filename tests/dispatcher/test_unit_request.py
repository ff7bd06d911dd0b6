"""What a unit sees of a request: the body, and headers that the dispatcher made itself."""

from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError

from dispatcher.settings import DispatcherSettings
from tests.dispatcher.conftest import Gateway, Pool
from tests.dispatcher.scripted import DONE, Call, event

EVERY = {"host", "accept", "accept-encoding", "user-agent", "content-type", "content-length"}


def headers_of(call: Call) -> dict[str, str]:
    pairs = [(name.decode().lower(), each.decode()) for name, each in call.request.raw_headers]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


async def test_a_unit_gets_the_headers_of_its_dispatcher_and_no_other(
    pool: Pool, gateway: Gateway
) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        if len(call.unit.calls) == 1:
            return web.Response(status=500)
        return await call.stream(event("x"), DONE)

    unit = await pool.unit(answer)
    await pool.dispatcher(unit, unit_api_key=SecretStr("key-of-unit"))
    job = await gateway.submit(body=b'{"prompt":"x"}')
    await gateway.received(job)
    first, second = unit.calls
    for call in (first, second):
        assert call.request.raw_path == "/v1/completions"
        assert headers_of(call).keys() == EVERY | {"x-request-id", "authorization"}
        assert headers_of(call)["authorization"] == "Bearer key-of-unit"
        assert headers_of(call)["content-type"] == "application/json"
        assert headers_of(call)["accept"] == "text/event-stream"
    # vLLM refuses an id that it still works on: the second attempt has one of its own.
    assert headers_of(first)["x-request-id"] == job
    assert headers_of(second)["x-request-id"] == f"{job}:2"


async def test_a_redirect_is_an_answer_and_not_followed(pool: Pool, gateway: Gateway) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        return web.Response(status=307, headers={"location": f"{call.unit.url}/v1/elsewhere"})

    unit = await pool.unit(answer)
    await pool.dispatcher(unit)
    got = await gateway.received(await gateway.submit())
    assert got.head["status"] == 307
    assert len(unit.calls) == 1


async def test_what_a_unit_says_out_of_turn_is_quoted_nowhere(pool: Pool, gateway: Gateway) -> None:
    async def answer(call: Call) -> Any:
        assert call.request.transport
        call.request.transport.write(b"HTTP/1.1 200 OK\r\nsecret-of-prompt\r\n\r\nsecret-of-prompt")
        call.drop()
        return await call.stream()

    unit = await pool.unit(answer)
    await pool.dispatcher(unit, unit_backoff_longest_s=0.1)
    job = await gateway.submit()
    assert await pool.outcome(job) == "dead"
    kept = f"{await pool.job(job)} {await pool.views.events()}"
    assert "secret-of-prompt" not in kept.replace('{"prompt":', "")


@pytest.mark.parametrize(
    "url", ["http://user:pass@unit:8001", "http://unit:8001/?key=x", "ftp://unit", "unit:8001"]
)
def test_a_units_url_holds_no_secret(url: str) -> None:
    with pytest.raises(ValidationError):
        DispatcherSettings(unit_url=url, _env_file=None)


async def test_a_body_is_not_kept_while_its_unit_answers(pool: Pool, gateway: Gateway) -> None:
    async def answer(call: Call) -> web.StreamResponse:
        response = await call.stream(event("first"))
        await call.released()
        await response.write(DONE)
        return response

    unit = await pool.unit(answer)
    dispatcher = await pool.dispatcher(unit)
    job = await gateway.submit(body=b'{"prompt":"x"}')
    await gateway.begun(job)
    assert unit.calls[0].body == b'{"prompt":"x"}'
    running = dispatcher.service._running.get(job)
    assert running
    assert running.job.body == b""
    unit.release(job)
    assert (await gateway.received(job)).body == event("first") + DONE
