"""A real vLLM whose engine is killed in the middle of a stream; the last test of the engines."""

from typing import Any

import psutil
import pytest
from openai import APIError, AsyncOpenAI

from tests.vllm.conftest import Engine
from tests.vllm.model import MODEL

ASKED: Any = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "extra_body": {"ignore_eos": True},
}


def kill_core(engine: Engine) -> None:
    """The engine is a process of its own, behind the server that speaks HTTP."""
    (core,) = [
        one
        for one in psutil.Process(engine.process.pid).children()
        if "EngineCore" in " ".join(one.cmdline())
    ]
    core.kill()


async def test_the_client_is_told_and_the_other_engine_serves_on(
    client: AsyncOpenAI, engines: dict[str, Engine]
) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        **ASKED, max_tokens=3900, stream=True
    )
    unit = raw.headers["x-adasplit-unit"]
    stream = raw.parse()
    await anext(stream)
    kill_core(engines[unit])
    with pytest.raises(APIError) as told:
        async for _ in stream:
            pass
    # vLLM ends such a stream with an error event and [DONE]; what comes here is AdaSplit's own.
    assert told.value.code == "unit_failed"
    assert "the engine failed" in told.value.message
    for _ in range(3):
        answer = await client.chat.completions.with_raw_response.create(**ASKED, max_tokens=5)
        assert answer.headers["x-adasplit-unit"] != unit
