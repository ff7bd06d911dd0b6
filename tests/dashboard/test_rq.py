"""rq-dashboard on a real system: what it shows, and what its buttons do."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.cli.conftest import Up, end, start_up
from tests.dashboard.conftest import Browser

MODEL = "only"
PROMPT = "nobody-else-may-read-this"


class Unit:
    """A unit that holds what it is given until it is told how to answer."""

    def __init__(self) -> None:
        self.answer = 200
        self.go_on = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _asks(self))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


def _asks(unit: Unit) -> type[BaseHTTPRequestHandler]:
    class Asked(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.say(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            unit.go_on.wait()
            usage = {"prompt_tokens": 3, "completion_tokens": 2}
            self.say(unit.answer, {"choices": [{"text": "so"}], "usage": usage})

        def say(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: the test says what it wants to know."""

    return Asked


@pytest.fixture(scope="module")
def unit() -> Iterator[Unit]:
    one = Unit()
    yield one
    one.go_on.set()
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, unit: Unit) -> Iterator[Up]:
    """One unit with one slot: what comes second waits."""
    one = start_up(
        tmp_path_factory.mktemp("rq"),
        *("--unit", f"gpu-a={unit.url}"),
        ADASPLIT_WORKER_CONCURRENCY_LIMIT="1",
    )
    try:
        one.wait_ready()
        yield one
    finally:
        end(one)


@pytest.fixture
def ask(system: Up) -> Iterator[Callable[[], "Future[httpx.Response]"]]:
    """Send a request; its answer comes when the unit gives one."""
    body = {"model": MODEL, "prompt": PROMPT, "max_tokens": 2}
    with (
        httpx.Client(base_url=system.url, timeout=60, trust_env=False) as client,
        ThreadPoolExecutor(8) as clients,
    ):
        yield lambda: clients.submit(client.post, "/v1/completions", json=body)


class Rq:
    """rq-dashboard, as its own pages ask it."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def jobs(self, place: str) -> list[str]:
        page = self.client.get(f"/rq/0/data/jobs/short/{place}/100/asc/1.json").json()
        return [job["id"] for job in page["jobs"]]

    def count(self, what: str) -> int:
        queues = self.client.get("/rq/0/data/queues.json").json()["queues"]
        return int(next(queue for queue in queues if queue["name"] == "short")[what])

    def wait(self, fact: Callable[[], Any], limit_s: float = 30.0) -> float:
        began_s = time.monotonic()
        while not fact():
            if time.monotonic() - began_s > limit_s:
                raise TimeoutError(self.client.get("/rq/0/data/queues.json").text)
            time.sleep(0.1)  # between two looks
        return time.monotonic() - began_s


@pytest.fixture
def rq(system: Up) -> Iterator[Rq]:
    with httpx.Client(base_url=system.dashboard_url, timeout=30, trust_env=False) as client:
        yield Rq(client)


def one_runs_and_one_waits(
    rq: Rq, unit: Unit, ask: Callable[[], "Future[httpx.Response]"]
) -> list["Future[httpx.Response]"]:
    unit.answer = 200
    unit.go_on.clear()
    answers = [ask()]
    rq.wait(lambda: rq.count("started_job_registry_count") == 1)
    answers.append(ask())
    rq.wait(lambda: rq.count("count") == 1)
    return answers


def one_job_dies(
    system: Up, rq: Rq, unit: Unit, ask: Callable[[], "Future[httpx.Response]"]
) -> None:
    # Failures before may have taken the unit out of the pool for a while.
    rq.wait(lambda: httpx.get(f"{system.url}/readyz", trust_env=False).status_code == 200)
    unit.answer = 500
    unit.go_on.set()
    assert ask().result().status_code == 502
    rq.wait(lambda: rq.jobs("failed"))


def test_classes_are_queues_and_units_are_workers(
    rq: Rq, unit: Unit, ask: Callable[[], "Future[httpx.Response]"]
) -> None:
    first, second = one_runs_and_one_waits(rq, unit, ask)
    (running,), (waiting,) = rq.jobs("started"), rq.jobs("queued")
    (worker,) = rq.client.get("/rq/0/data/workers.json").json()["workers"]
    assert (worker["name"], worker["state"]) == ("gpu-a", "busy")
    assert worker["current_job"]["job_id"] == running
    unit.go_on.set()
    for answer in (first, second):
        assert answer.result().status_code == 200
    rq.wait(lambda: {running, waiting} <= set(rq.jobs("finished")))
    told = rq.client.get(f"/rq/0/data/job/{running}.json").json()
    assert (told["status"], told["origin"]) == ("finished", "short")
    assert json.loads(told["metadata"])["unit"] == "gpu-a"


def test_a_waiting_job_that_is_deleted_there_is_gone(
    system: Up, rq: Rq, unit: Unit, browser: Browser, ask: Callable[[], "Future[httpx.Response]"]
) -> None:
    first, second = one_runs_and_one_waits(rq, unit, ask)
    (waiting,) = rq.jobs("queued")
    browser.open(f"{system.dashboard_url}/rq/0/view/jobs/short/queued/8/asc/1")
    browser.wait(lambda: waiting in browser.text("#jobs"), "the job")
    browser.run("document.querySelector('[data-role=delete-job-btn]').click()")
    browser.wait(lambda: browser.text("#confirmation-modal-yes"), "the question")
    browser.run("document.querySelector('#confirmation-modal-yes').click()")
    assert second.result().status_code >= 400
    state = httpx.get(f"{system.url}/v1/jobs/{waiting}", trust_env=False).json()
    assert (state["outcome"], state["reason"]) == ("cancelled", "deleted in the dashboard")
    rq.wait(lambda: rq.jobs("queued") == [] and waiting in rq.jobs("canceled"))
    unit.go_on.set()
    assert first.result().status_code == 200
    assert [said for said in browser.complaints if "favicon" not in said] == []


def test_a_dead_job_that_is_requeued_there_runs_again(
    system: Up, rq: Rq, unit: Unit, ask: Callable[[], "Future[httpx.Response]"]
) -> None:
    one_job_dies(system, rq, unit, ask)
    (dead,) = rq.jobs("failed")
    told = rq.client.get(f"/rq/0/data/job/{dead}.json").json()
    assert told["exc_info"].startswith("dead after attempt 3: ")
    unit.answer = 200
    press = rq.client.post(f"/rq/job/{dead}/requeue")
    assert press.json() == {"status": "OK"}
    # Pressed twice it runs once.
    assert rq.client.post(f"/rq/job/{dead}/requeue").status_code == 409
    rq.wait(lambda: f"{dead}-again1" in rq.jobs("finished"))
    assert rq.jobs("failed") == []
    again = httpx.get(f"{system.url}/v1/jobs/{dead}-again1", trust_env=False).json()
    assert (again.get("outcome"), again.get("status")) == ("ok", 200), again
    first = httpx.get(f"{system.url}/v1/jobs/{dead}", trust_env=False).json()
    assert first["outcome"] == "dead"


def test_nothing_of_a_request_is_in_the_keys_of_rq(
    system: Up, rq: Rq, unit: Unit, ask: Callable[[], "Future[httpx.Response]"]
) -> None:
    one_job_dies(system, rq, unit, ask)
    shown = re.search(r"unix://(/\S+valkey\.sock)", rq.client.get("/rq/").text)
    assert shown is not None
    with Redis(unix_socket_path=shown[1]) as redis:
        keys = list(redis.scan_iter())
        dumped = b"".join(redis.dump(key) or b"" for key in keys)
    assert len(keys) > 3
    assert PROMPT.encode() not in dumped


def test_only_presses_change_anything(rq: Rq) -> None:
    assert rq.client.get("/rq/requeue/short").status_code == 405
    assert rq.client.post("/rq/0/data/queues.json").status_code == 405
    assert rq.client.post("/rq/job/job-nobody/requeue").status_code == 409
    assert rq.client.get("/rq/0/data/job/job-nobody.json").status_code == 404
    press = rq.client.post("/rq/queue/short/finished/empty", headers={"sec-fetch-site": "none"})
    assert press.status_code == 403


def test_a_redis_that_is_away_is_said_and_not_shown_as_empty(system: Up, rq: Rq) -> None:
    redis = system.child("valkey")
    redis.suspend()
    try:
        rq.wait(lambda: rq.client.get("/rq/0/data/queues.json").status_code == 503)
    finally:
        redis.resume()
    rq.wait(lambda: rq.client.get("/rq/0/data/queues.json").status_code == 200)
