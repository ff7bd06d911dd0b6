"""What another terminal sees beside a running `adasplit up`."""

import json
import shlex
import stat
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest

Cli = Callable[..., CompletedProcess[str]]


def post(running: Any, **more: Any) -> httpx.Response:
    """Send the printed request, as curl would."""
    words = shlex.split(running.curl.replace("\\\n", " "))
    body = json.loads(words[words.index("-d") + 1]) | more
    name, _, value = words[words.index("-H") + 1].partition(": ")
    return httpx.post(words[2], json=body, headers={name: value}, timeout=60, trust_env=False)


def test_the_printed_request_streams_an_answer(running: Any) -> None:
    answer = post(running)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count("data: ") > 10
    assert answer.text.rstrip().endswith("data: [DONE]")


def test_the_printed_request_fits_a_terminal(running: Any) -> None:
    assert max(len(line) for line in running.curl.splitlines()) <= 80


def test_status_as_json_is_what_the_gateway_says(running: Any, cli: Cli) -> None:
    done = cli("status", "--json")
    state = json.loads(done.stdout)
    assert sorted(state["units"]) == ["unit-1", "unit-2"]
    assert state["queues"].keys() == {"short", "long"}
    assert state["policy"]["worker_concurrency_limit"] == 8
    assert done.returncode == 0


def test_status_from_redis_says_the_same_as_from_the_gateway(running: Any, cli: Cli) -> None:
    note = json.loads(
        (Path(running.environment["XDG_RUNTIME_DIR"]) / "adasplit/up.json").read_text()
    )
    by_redis = json.loads(cli("status", "--json", "--redis-url", note["redis_url"]).stdout)
    by_gateway = json.loads(cli("status", "--json", "--url", running.url).stdout)
    assert by_redis["units"].keys() == by_gateway["units"].keys()
    assert by_redis["policy"] == by_gateway["policy"]
    for name, unit in by_redis["units"].items():
        for field in ("active", "limits", "url", "models", "health"):
            assert unit[field] == by_gateway["units"][name][field]


def test_status_for_people_names_every_unit_and_queue(running: Any, cli: Cli) -> None:
    said = cli("status").stdout
    for word in ("unit-1", "unit-2", "Short", "Long", "waiting"):
        assert word in said


def test_explain_tells_a_short_jobs_story(running: Any, cli: Cli) -> None:
    job = post(running).headers["x-adasplit-job"]
    done = cli("explain", job, "--json")
    story = json.loads(done.stdout)
    assert (story["job_class"], story["outcome"], story["attempts"]) == ("short", "ok", 1)
    assert story["units"][0] in {"unit-1", "unit-2"}
    assert 0 <= story["queue_s"] <= story["first_byte_s"] <= story["total_s"]
    assert story["steps"][0]["what"].startswith("submitted")
    assert story["steps"][-1]["what"].endswith("finished it: ok")
    assert story["complete"]


def test_explain_tells_a_long_jobs_story_to_people(running: Any, cli: Cli) -> None:
    messages = [{"role": "user", "content": "word " * 8000}]
    job = post(running, messages=messages, max_tokens=4).headers["x-adasplit-job"]
    done = cli("explain", job)
    assert done.returncode == 0
    assert job in done.stdout
    assert "long, " in done.stdout
    assert "finished it: ok" in done.stdout


def test_explain_does_not_know_an_unknown_job(running: Any, cli: Cli) -> None:
    done = cli("explain", "job-nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("adasplit: no job job-nobody is known")
    assert done.stderr.count("\n") == 1


def test_the_note_with_the_password_is_for_its_user_only(running: Any) -> None:
    note = Path(running.environment["XDG_RUNTIME_DIR"]) / "adasplit" / "up.json"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600


def test_the_embedded_server_asks_for_the_password(running: Any, cli: Cli) -> None:
    note = json.loads(
        (Path(running.environment["XDG_RUNTIME_DIR"]) / "adasplit/up.json").read_text()
    )
    address = note["redis_url"].rpartition("@")[2]
    done = cli("status", "--redis-url", f"redis://{address}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["scaler", "dispatcher", "valkey"])
def test_a_process_that_dies_is_named_and_started_again(running: Any, name: str) -> None:
    victim = running.child(name)
    said = running.said.count("was ended by SIGKILL")
    victim.kill()
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        if running.said.count("was ended by SIGKILL") > said and is_back(running, name, victim.pid):
            break
        time.sleep(0.05)  # between two looks
    else:
        pytest.fail(running.said)
    assert post(running).status_code == 200


def is_back(running: Any, name: str, old_pid: int) -> bool:
    try:
        if running.child(name).pid == old_pid:
            return False
        return httpx.get(f"{running.url}/readyz", trust_env=False).is_success
    except (LookupError, httpx.HTTPError):
        return False
