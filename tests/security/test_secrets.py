"""Keys, passwords and prompts stand nowhere that is not theirs, even at the level debug."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from redis import Redis

from tests.chaos.load import MODEL
from tests.cli.conftest import Up, end, run_cli, start_up, wait_for

GENEROUS_S = 60.0
PROMPT = "canary-of-the-prompt"
SECRETS = {
    "a prompt": PROMPT,
    "an API key": "canary-of-a-key",
    "an admin key": "canary-of-an-admin",
    "a wrong key": "canary-of-a-wrong-key",
    "a unit's key": "canary-of-a-unit",
}
FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 400},
    {"kind": "malformed"},
    {"kind": "eof"},
    {"kind": "disconnect"},
    {"kind": "error_event"},
    {"kind": "drop"},
    {"kind": "status", "status": 500},
]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    one = start_up(
        tmp_path_factory.mktemp("secrets"),
        *("--units", "2", "--logs", "logs"),
        ADASPLIT_LOG_LEVEL="debug",
        ADASPLIT_API_KEYS="ann:canary-of-a-key",
        ADASPLIT_ADMIN_KEYS="ops:canary-of-an-admin",
        ADASPLIT_UNIT_API_KEY="canary-of-a-unit",
        ADASPLIT_UNIT_BACKOFF_LONGEST_S="0.2",
    )
    try:
        one.wait_ready()
        yield one
    finally:
        end(one)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def everything_happens(url: str) -> list[str]:
    """Answers, refusals and failures of all kinds; the jobs that came of it."""
    jobs = []
    with httpx.Client(base_url=url, headers=bearer("canary-of-a-key"), timeout=120) as client:

        def ask(**fields: Any) -> httpx.Response:
            message = {"role": "user", "content": PROMPT}
            body = {"model": MODEL, "messages": [message], "max_tokens": 3} | fields
            answer = client.post("/v1/chat/completions", json=body)
            if job := answer.headers.get("x-adasplit-job"):
                jobs.append(job)
            return answer

        for stream in (False, True):
            assert ask(stream=stream).status_code == 200
        assert ask(model="another").status_code == 404
        assert ask(n=0).status_code == 400
        assert ask(user=PROMPT, stop=7).status_code == 400
        broken = f'{{"model": "{PROMPT}", "messages": [{PROMPT}'.encode()
        json_type = {"content-type": "application/json"}
        path = "/v1/chat/completions"
        assert client.post(path, content=broken, headers=json_type).status_code == 400
        assert client.post(path, content=b" " * 9_000_000, headers=json_type).status_code == 413
        wrong = client.post(path, json={}, headers=bearer("canary-of-a-wrong-key"))
        assert wrong.status_code == 401
        hurried = {"x-adasplit-timeout-s": "0.05"}
        message = {"role": "user", "content": PROMPT}
        body = {"model": MODEL, "messages": [message], "max_tokens": 4000, "ignore_eos": True}
        assert client.post(path, json=body, headers=hurried).status_code == 504
        with client.stream("POST", path, json=body | {"stream": True}) as answer:
            jobs.append(answer.headers["x-adasplit-job"])
            next(answer.iter_raw())
        for fault in FAULTS:
            for stream in (False, True):
                # Units that failed are left alone for a moment.
                wait_for(partial(ready, client), GENEROUS_S, "a unit that may be asked")
                ask(stream=stream, simulator_fault=fault)
    assert len(jobs) > len(FAULTS)
    return jobs


def ready(client: httpx.Client) -> bool:
    return client.get("/readyz").status_code == 200


def test_no_secret_and_no_prompt_is_told_to_anybody(system: Up) -> None:
    jobs = everything_happens(system.url)
    note = json.loads(next(system.output.parent.rglob("up.json")).read_text())
    told: dict[str, str] = {}
    with Redis.from_url(note["redis_url"], protocol=2) as redis:
        prefix = "adasplit:{default}:"

        def ended() -> bool:
            return all(redis.hget(f"{prefix}job:{job}", "state") == b"finished" for job in jobs)

        wait_for(ended, GENEROUS_S, "all jobs end")
        for stream in ("events", "dead"):
            told[stream] = str(redis.xrange(prefix + stream))
        for job in jobs:
            fields = redis.hgetall(f"{prefix}job:{job}")
            # A dead letter keeps its request, so that it can be sent again.
            if fields[b"outcome"] == b"dead":
                fields.pop(b"body", None)
            told[f"hash of {job}"] = str(fields)
        told["units"] = str([redis.hgetall(name) for name in redis.keys(f"{prefix}unit:*")])
    for job in jobs[:4]:
        told[f"explain {job}"] = run_cli(system.environment, "explain", job).stdout
        answer = httpx.get(f"{system.url}/v1/jobs/{job}", headers=bearer("canary-of-a-key"))
        told[f"page of {job}"] = answer.text
    admin = system.environment | {"ADASPLIT_API_KEY": "canary-of-an-admin"}
    told["status"] = run_cli(admin, "status", "--json").stdout
    assert '"units"' in told["status"]
    for path in ("/metrics", "/v1/state"):
        answer = httpx.get(system.url + path, headers=bearer("canary-of-an-admin"))
        assert answer.status_code == 200
        told[path] = answer.text
    for port in range(system.port + 10, system.port + 13):
        told[f"metrics of {port}"] = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    for log in Path(system.output.parent, "logs").glob("*.log"):
        told[log.name] = log.read_text(errors="replace")
    # The logs were written, and at this level.
    for name in ("gateway-1", "scaler", "dispatcher-unit-1"):
        assert " DEBUG common.server starts with settings " in told[f"{name}.log"]
    told["what up prints"] = system.said
    password = urlsplit(note["redis_url"]).password
    assert password
    found = [
        (place, name)
        for place, text in told.items()
        for name, secret in (SECRETS | {"Redis's password": password}).items()
        if secret in text
    ]
    assert found == []
