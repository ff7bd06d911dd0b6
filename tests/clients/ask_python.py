"""LiteLLM, LangChain and the official client against a gateway: prints what they saw, as JSON."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import litellm
import openai
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

BASE_URL, API_KEY, SLOW_KEY, MODEL = sys.argv[1:]
MESSAGES = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def failure(asking: Callable[[], Any]) -> list[Any] | None:
    """What kind of error came of it."""
    try:
        asking()
    except Exception as error:  # noqa: BLE001  # each client has its own
        return [type(error).__name__, getattr(error, "status_code", None)]
    return None


def by_litellm() -> dict[str, Any]:
    options = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": API_KEY}
    asked = options | {"messages": MESSAGES, "max_tokens": 5, "num_retries": 0}
    whole = litellm.completion(**asked, n=2, logprobs=True, top_logprobs=1, tools=[TOOL])
    streamed = list(
        litellm.completion(**asked, stream=True, stream_options={"include_usage": True})
    )
    again = asyncio.run(litellm.acompletion(**asked))
    text = litellm.text_completion(
        **options | {"model": f"text-completion-openai/{MODEL}"}, prompt="a b c", max_tokens=3
    )
    return {
        "choices": len(whole.choices),
        "completion_tokens": again.usage.completion_tokens,
        "pieces": sum(bool(e.choices and e.choices[0].delta.content) for e in streamed),
        "streamed_tokens": streamed[-1].usage.completion_tokens,
        "prompt_tokens": text.usage.prompt_tokens,
        "unknown_model": failure(lambda: litellm.completion(**asked | {"model": "openai/another"})),
        "wrong_key": failure(lambda: litellm.completion(**asked | {"api_key": "wrong"})),
        "malformed": failure(lambda: litellm.completion(**asked, temperature="hot")),
    }


def by_langchain() -> dict[str, Any]:
    def chat(**changes: Any) -> ChatOpenAI:
        options = {"base_url": BASE_URL, "api_key": API_KEY, "model": MODEL, "max_retries": 0}
        return ChatOpenAI(**options | {"max_tokens": 5, "stream_usage": True} | changes)

    message = [HumanMessage("Hello")]
    whole = chat().bind_tools([TOOL]).invoke(message)
    streamed = list(chat().stream(message))
    again = asyncio.run(chat(logprobs=True, n=2).agenerate([message]))
    return {
        "completion_tokens": whole.usage_metadata["output_tokens"],
        "choices": len(again.generations[0]),
        "pieces": sum(bool(chunk.content) for chunk in streamed),
        "streamed_tokens": sum(
            chunk.usage_metadata["output_tokens"] for chunk in streamed if chunk.usage_metadata
        ),
        "unknown_model": failure(lambda: chat(model="another").invoke(message)),
        "wrong_key": failure(lambda: chat(api_key="wrong").invoke(message)),
    }


def by_openai() -> dict[str, Any]:
    """The retry on 429, with a key that may ask every few seconds."""
    client = openai.OpenAI(base_url=BASE_URL, api_key=SLOW_KEY, max_retries=0)
    patient = client.with_options(max_retries=2)
    asked: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 2}
    while True:
        try:
            client.chat.completions.create(**asked)
        except openai.RateLimitError as error:
            refused = error
            break
    started_s = time.monotonic()
    patient.chat.completions.create(**asked)
    return {
        "refused": [refused.status_code, refused.code],
        "retry_after_s": int(refused.response.headers["retry-after"]),
        "waited_s": time.monotonic() - started_s,
    }


if __name__ == "__main__":
    litellm.suppress_debug_info = True
    saw = {"litellm": by_litellm(), "langchain": by_langchain(), "openai": by_openai()}
    sys.stdout.write("SAW " + json.dumps(saw))
