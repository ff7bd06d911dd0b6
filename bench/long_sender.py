"""`python -m bench.long_sender`: sends long prompts, a burst for each line that it reads.

A process of its own, so that what it costs to send them does not delay who listens to tokens.
"""

import argparse
import asyncio
import sys
from typing import Any

import orjson
import uvloop

from bench.client import chat_body
from bench.cost.unit import MODEL
from bench.cost.wire import Target, lines

WORD = "word "


def body_of(number: int, body_bytes: int, tokens: int) -> bytes:
    """A request of about so many bytes, unlike any other from its first word on."""
    prompt = f"{number:08d} " + WORD * (body_bytes // len(WORD))
    fields: dict[str, Any] = orjson.loads(chat_body(MODEL, prompt, tokens, stream=True))
    return orjson.dumps(fields)


async def _send(url: str, prompts: int, body_bytes: int, tokens: int) -> None:
    loop = asyncio.get_running_loop()
    number = 0
    async with lines(Target("gateway", (url,)), prompts) as opened:
        while True:
            bodies = [body_of(number + at, body_bytes, tokens) for at in range(prompts)]
            number += prompts
            print("ready", flush=True)
            if not await loop.run_in_executor(None, sys.stdin.readline):
                return
            asked = zip(opened, bodies, strict=True)
            answers = await asyncio.gather(*(line.ask(body) for line, body in asked))
            if not all(answer.rstrip().endswith(b"[DONE]") for answer in answers):
                raise RuntimeError("an answer ended early")
            print("answered", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.long_sender", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--prompts", type=int, required=True)
    parser.add_argument("--body-bytes", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    given = parser.parse_args()
    uvloop.run(_send(given.url, given.prompts, given.body_bytes, given.tokens))


if __name__ == "__main__":
    main()
