"""`adasplit bench knee`: what it measures of a unit, what it says, and what it writes."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from bench.app import bench_app
from bench.client import Asking, Client, open_session
from bench.closedloop import ClosedLoop, Shape
from bench.openloop import RunClock
from bench.prompts import PromptMaker
from bench.sweep import plan
from cli.settings import CliSettings
from simulator.costs import DEFAULT_CALIBRATION
from tests.bench.conftest import Serve

MEASURED = str(DEFAULT_CALIBRATION.with_name("h200-llama3-70b-fp8.measured.json"))
QUICK = ("--only", "short", "--short", "64/8", "--short-tried", "1,2,3,4", "--repeats", "1")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(bench_app(), ["knee", *arguments])


def test_a_sweep_of_a_simulated_unit_writes_result_settings_and_picture(tmp_path: Path) -> None:
    out, plot, env = (tmp_path / name for name in ("k.json", "k.png", "k.env"))
    ran = run(*QUICK, "--speed", "20", "--out", str(out), "--plot", str(plot), "--env", str(env))
    assert ran.exit_code == 0, ran.output
    assert "the unit runs at speed 20: all times are scaled back to life" in ran.output
    found = json.loads(out.read_text())
    assert [point["concurrency"] for point in found["points"]] == [1, 2, 3, 4]
    assert [point["requests"] for point in found["points"]] == [6, 6, 6, 8]
    assert {point["prompt_tokens"] for point in found["points"]} == {64}
    # Eight steps of the simulated unit take 168 ms in life; here they may take 8.4.
    assert all(point["e2e_s"]["p50"] > 0.1 for point in found["points"])
    assert [one["class"] for one in found["knees"]] == ["short"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "ADASPLIT_WORKER_CONCURRENCY_LIMIT_SHORT=" in env.read_text()
    again = run("--points", str(out))
    assert again.exit_code == 0
    assert again.output.splitlines() == ran.output.splitlines()[-2:]


def test_the_settings_are_read_by_the_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = tmp_path / "knee.env"
    ran = run("--points", MEASURED, "--env", str(env))
    assert ran.exit_code == 0, ran.output
    assert "short: no knee up to 128 at a time: throughput still grows" in ran.output
    assert "long: knee at 7 at a time" in ran.output
    settings = CliSettings(_env_file=env)
    assert settings.worker_concurrency_limit == 7
    assert settings.worker_concurrency_limit_short == 128
    assert settings.worker_concurrency_limit_long == 7
    assert "not the best there is" in env.read_text()


def test_a_sweep_goes_up_and_down_in_turn() -> None:
    assert list(plan([4, 1, 2], 2)) == [(1, 1), (1, 2), (1, 4), (2, 4), (2, 2), (2, 1)]


async def test_every_request_of_a_loop_ends_well_and_no_more_are_open_than_wanted(
    serve: Serve,
) -> None:
    open_now, most, lengths, all_open = 0, 0, [], asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal open_now, most
        body = await request.json()
        lengths.append(body["max_tokens"])
        open_now += 1
        most = max(most, open_now)
        try:
            if open_now == 3:
                all_open.set()
            await all_open.wait()
            said = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await said.prepare(request)
            for at in range(body["max_tokens"]):
                last = at == body["max_tokens"] - 1
                choice = {"delta": {"content": "x"}, "finish_reason": "length" if last else None}
                event = {"id": "one", "choices": [choice]}
                await said.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            usage = {"prompt_tokens": 9, "completion_tokens": body["max_tokens"]}
            counted = {"id": "one", "choices": [], "usage": usage}
            await said.write(b"data: " + json.dumps(counted).encode() + b"\n\ndata: [DONE]\n\n")
        finally:
            open_now -= 1
        return said

    url = await serve({"/v1/chat/completions": answer})
    clock = RunClock()
    async with open_session(timeout_s=60) as session:
        client = Client(session, Asking("m"), prompt=PromptMaker(1).prompt, clock=clock)
        loop = ClosedLoop(client, clock, url, Shape("short", 20, 5), 0)
        point = await loop.run(3, per_client=4, repeat=1)
    assert point.failure == ""
    assert point.requests == 12
    assert point.requests_per_s is not None
    assert point.output_tokens_per_s == pytest.approx(point.requests_per_s * 5)
    assert most == 3
    # One of any length, one whole one, and what is counted: of each client.
    assert len(lengths) >= 3 * (1 + 1 + 4)
    assert lengths.count(5) >= 3 * 5


async def test_a_request_that_fails_ends_its_point_by_name(serve: Serve) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"code": "queue_full"}}, status=429)

    url = await serve({"/v1/chat/completions": refuse})
    clock = RunClock()
    async with open_session(timeout_s=60) as session:
        client = Client(session, Asking("m"), prompt=PromptMaker(1).prompt, clock=clock)
        point = await ClosedLoop(client, clock, url, Shape("short", 20, 5), 0).run(2, 1, 1)
    assert (point.failure, point.requests_per_s) == ("http_429:queue_full", None)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--unit", "nonsense"), "is not an http"),
        (("--short", "600"), "is not PROMPT/OUTPUT"),
        (("--long-tried", "1,x"), "is no list of numbers"),
        (("--only", "medium"), "neither short nor long"),
        (("--env", "/nowhere/knee.env"), "is not a folder"),
        (("--points", "/nowhere.json"), "No such file"),
        (("--points", __file__), "holds no points"),
        ((*QUICK, "--speed", "20", "--short", "130000/2000"), "give --short with fewer"),
        (("--unit", "http://127.0.0.1:9"), "does not list its models"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], reason: str) -> None:
    ran = run(*arguments)
    assert ran.exit_code in {1, 2}
    assert reason in " ".join(ran.output.replace("│", " ").split())
