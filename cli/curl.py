"""The request that a new user can try, ready to paste."""

import json
import shlex


def curl(url: str, model: str, key: str) -> str:
    """A streamed chat that ends within seconds, in lines that fit a terminal."""
    messages = [{"role": "user", "content": "Tell me a story."}]
    body = (
        f'{{"model": {json.dumps(model)}, "stream": true, "max_tokens": 40,\n'
        f'      "messages": {json.dumps(messages)}}}'
    )
    lines = [f"curl -N {url}/v1/chat/completions", "-H 'content-type: application/json'"]
    if key:
        lines.append(f"-H 'authorization: Bearer {key}'")
    lines.append(f"-d {shlex.quote(body)}")
    return " \\\n  ".join(lines)
