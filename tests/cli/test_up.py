"""How `adasplit up` starts, stops and refuses."""

import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cli.failure import CannotDo
from cli.settings import CliSettings
from cli.sources import state_from_gateway

Cli = Callable[..., CompletedProcess[str]]
StartUp = Callable[..., Any]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(
    up: StartUp, tmp_path: Path, number: signal.Signals
) -> None:
    one = up("--units", "2", "--gateways", "2")
    one.wait_ready()
    one.process.send_signal(number)
    one.wait_gone()
    assert one.process.returncode == 0
    stages = [line.split()[1] for line in one.said.splitlines() if line.startswith("stopping ")]
    assert stages == ["in", "gateways", "dispatchers", "scaler", "dashboard", "units", "redis"]
    assert not list((tmp_path / "adasplit").glob("*.json"))
    assert not list(tmp_path.glob("adasplit-*"))


def test_open_answers_are_finished_before_anything_stops(up: StartUp) -> None:
    one = up("--units", "1", "--speed", "2")
    one.wait_ready()
    body = {
        "model": "simulated-llama-3-70b",
        "stream": True,
        "max_tokens": 100,
        "min_tokens": 100,
        "messages": [{"role": "user", "content": "Go on."}],
    }
    url = f"{one.url}/v1/chat/completions"
    with (
        httpx.Client(timeout=60, trust_env=False) as client,
        client.stream("POST", url, json=body) as answer,
    ):
        lines = answer.iter_lines()
        first = next(lines)
        one.process.send_signal(signal.SIGINT)
        rest = [line for line in lines if line]
    assert first.startswith("data: ")
    assert rest[-1] == "data: [DONE]"
    one.wait_gone()


def test_nothing_outlives_an_up_that_is_killed(up: StartUp) -> None:
    one = up("--units", "1")
    one.wait_ready()
    one.process.kill()
    one.wait_gone()


def test_a_second_signal_ends_those_that_hang(up: StartUp) -> None:
    one = up("--units", "1")
    one.wait_ready()
    one.child("gateway").suspend()
    one.process.send_signal(signal.SIGINT)
    one.wait_said("stopping gateways")
    one.process.send_signal(signal.SIGINT)
    one.wait_gone()


def test_what_a_killed_up_left_counts_for_nothing(up: StartUp, tmp_path: Path) -> None:
    one = up("--units", "1")
    one.wait_ready()
    note = tmp_path / "adasplit" / "up.json"
    folder = next(tmp_path.glob("adasplit-*-valkey-*"))
    one.process.kill()
    one.wait_gone()
    assert note.exists()
    other = up("--units", "1")
    other.wait_ready()
    assert json.loads(note.read_text())["url"] == other.url
    assert not folder.exists()


def test_a_given_redis_and_given_units_are_used_and_left_running(
    up: StartUp, servers: Any, cli_alone: Cli
) -> None:
    units = up("--units", "1")
    units.wait_ready()
    url = servers("valkey").url
    one = up(
        "--unit", f"gpu-a={units.url[: -len(str(units.port))]}{units.port + 1}",
        ADASPLIT_REDIS_URL=url, ADASPLIT_POOL=f"up-{units.port}",
    )  # fmt: skip
    one.wait_ready()
    assert {name for name in ("valkey", "simulator") if runs(one, name)} == set()
    done = cli_alone("status", "--json", "--url", one.url)
    assert list(json.loads(done.stdout)["units"]) == ["gpu-a"]
    one.process.send_signal(signal.SIGINT)
    one.wait_gone()
    assert not units.ended


def runs(one: Any, name: str) -> bool:
    try:
        one.child(name)
    except LookupError:
        return False
    return True


def test_a_program_with_bad_settings_stops_everything_with_its_own_words(up: StartUp) -> None:
    one = up("--units", "1", ADASPLIT_MAX_BODY_BYTES="1")
    one.wait_gone()
    assert one.process.returncode == 1
    last = one.said.splitlines()[-1]
    assert last.startswith("adasplit: gateway-1 does not start, it ended with exit code 2: ")
    assert "max_body_bytes" in last
    assert "Traceback" not in one.said


def refused(done: CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    return done.stderr.removeprefix("adasplit: ").rstrip()


@pytest.mark.parametrize("option", ["--port", "--unit-port", "--admin-port", "--dashboard-port"])
def test_a_port_in_use_is_one_line(cli_alone: Cli, free_port: int, option: str) -> None:
    ports = {"--port": free_port, "--unit-port": free_port + 1, "--admin-port": free_port + 10}
    ports["--dashboard-port"] = free_port + 9
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[option]))
        taken.listen()
        words = [str(word) for pair in ports.items() for word in pair]
        line = refused(cli_alone("up", *words))
    assert line.startswith(f"cannot listen on 127.0.0.1:{ports[option]}: Address already in use")
    assert option in line


@pytest.mark.parametrize("by_file", [False, True])
def test_host_and_port_come_from_the_settings_and_options_win(
    cli_alone: Cli, free_port: int, tmp_path: Path, *, by_file: bool
) -> None:
    # No machine has this address, so that nothing starts and the line names what was wanted.
    settings = {"ADASPLIT_HOST": "192.0.2.1", "ADASPLIT_PORT": str(free_port)}
    given = {} if by_file else settings
    if by_file:
        lines = (f"{name}={value}\n" for name, value in settings.items())
        (tmp_path / ".env").write_text("".join(lines))
    others = ["--unit-port", str(free_port + 2), "--admin-port", str(free_port + 10)]
    line = refused(cli_alone("up", *others, **given))
    assert line.startswith(f"cannot listen on 192.0.2.1:{free_port}: ")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port + 1))
        taken.listen()
        options = ["--host", "127.0.0.1", "--port", str(free_port + 1)]
        line = refused(cli_alone("up", *others, *options, **given))
    assert line.startswith(f"cannot listen on 127.0.0.1:{free_port + 1}: ")


def test_a_port_wanted_twice_is_one_line(cli_alone: Cli, free_port: int) -> None:
    line = refused(cli_alone("up", "--port", str(free_port), "--unit-port", str(free_port)))
    assert line == f"port {free_port} is wanted by the gateway and by unit-1"


def some_ports(first: int) -> list[str]:
    options = {"--port": 0, "--unit-port": 1, "--dashboard-port": 9, "--admin-port": 10}
    return [word for name, place in options.items() for word in (name, str(first + place))]


def test_a_redis_that_does_not_answer_is_one_line(cli_alone: Cli, free_port: int) -> None:
    url = f"redis://127.0.0.1:{free_port + 19}"
    line = refused(cli_alone("up", *some_ports(free_port), ADASPLIT_REDIS_URL=url))
    assert line.startswith("Redis does not answer: ")


def test_a_redis_url_of_no_known_form_is_one_line(cli_alone: Cli, free_port: int) -> None:
    line = refused(cli_alone("up", *some_ports(free_port), "--redis-url", "what://user:pw@ever"))
    assert line == "not a Redis URL: what://ever"


def test_a_missing_tokenizer_file_is_one_line(cli_alone: Cli, tmp_path: Path) -> None:
    path = tmp_path / "nowhere.json"
    line = refused(cli_alone("up", ADASPLIT_TOKENIZER=str(path)))
    assert line == f"ADASPLIT_TOKENIZER names {path}, and there is no such file"


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        (["--unit", "http://127.0.0.1:1"], {}, "not a unit: http://127.0.0.1:1"),
        ([], {"ADASPLIT_UNITS": "a=http://h:1,a=http://h:2"}, "two units are called a"),
        ([], {"ADASPLIT_LEASE_S": "soon"}, "setting lease_s: "),
        ([], {"ADASPLIT_PORT": "http"}, "setting port: "),
        ([], {"ADASPLIT_PORT": "70000"}, "there is no port 70000 for the gateway"),
        (["--port", "70000"], {}, "there is no port 70000 for the gateway"),
    ],
)
def test_what_cannot_be_is_one_line(
    cli_alone: Cli, arguments: list[str], settings: dict[str, str], says: str
) -> None:
    assert refused(cli_alone("up", *arguments, **settings)).startswith(says)


def test_status_without_a_gateway_is_one_line(cli_alone: Cli, free_port: int) -> None:
    line = refused(cli_alone("status", "--url", f"http://127.0.0.1:{free_port}"))
    assert line.startswith(f"no state from the gateway at http://127.0.0.1:{free_port}: ")
    assert line.endswith("; `adasplit up` starts one, --url names another")


async def test_status_of_a_gateway_that_wants_a_key_names_the_setting() -> None:
    async def refuse(request: web.Request) -> web.Response:
        raise web.HTTPUnauthorized

    app = web.Application()
    app.router.add_get("/v1/state", refuse)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        with pytest.raises(CannotDo, match=r"in ADASPLIT_API_KEY$"):
            await state_from_gateway(url, CliSettings(_env_file=None))


def test_explain_without_redis_is_one_line(cli_alone: Cli, free_port: int) -> None:
    line = refused(
        cli_alone("explain", "job-1", ADASPLIT_REDIS_URL=f"redis://127.0.0.1:{free_port}")
    )
    assert line.startswith("Redis does not answer: ")
