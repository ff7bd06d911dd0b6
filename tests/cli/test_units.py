"""`adasplit units`: taking a unit out of service and back, beside an `adasplit up` under load."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess
from typing import Any, Self

import httpx
import pytest

Cli = Callable[..., CompletedProcess[str]]


class Chats:
    """Clients that ask one chat after the other until they are told to stop."""

    def __init__(self, url: str, clients: int = 4) -> None:
        self._url = url
        self._stop = threading.Event()
        self.statuses: list[int] = []
        self.units: list[str] = []
        self._threads = [threading.Thread(target=self._chat) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _chat(self) -> None:
        body = {"model": "simulated-llama-3-70b", "prompt": "Go on.", "max_tokens": 60}
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not self._stop.is_set():
                answer = client.post(f"{self._url}/v1/completions", json=body)
                self.statuses.append(answer.status_code)
                self.units.append(answer.headers.get("x-adasplit-unit", ""))


@pytest.fixture
def listed(cli: Cli) -> Iterator[Callable[[], dict[str, Any]]]:
    """What `adasplit units --json` says; leaves no unit draining."""

    def units() -> dict[str, Any]:
        units: dict[str, Any] = json.loads(cli("units", "--json").stdout)
        return units

    yield units
    for name, unit in units().items():
        if unit["draining"]:
            cli("units", "resume", name)


def wait_for(fact: Callable[[], bool]) -> None:
    for _ in range(600):
        if fact():
            return
        threading.Event().wait(0.1)  # between two looks
    raise TimeoutError


def test_the_list_names_every_unit_and_what_it_is_at(cli: Cli) -> None:
    said = cli("units")
    assert said.returncode == 0
    assert "unit-1" in said.stdout
    assert "unit-2" in said.stdout


def test_a_unit_is_drained_restarted_and_resumed_under_load_without_a_failed_request(
    running: Any, cli: Cli, listed: Callable[[], dict[str, Any]]
) -> None:
    with Chats(running.url) as chats:
        wait_for(lambda: {"unit-1", "unit-2"} <= set(chats.units))
        drained = cli("units", "drain", "unit-2")
        assert (drained.returncode, drained.stderr) == (0, "")
        assert "unit-2 is drained" in drained.stdout
        assert "warning" not in drained.stdout
        seen, unit = len(chats.units), listed()["unit-2"]
        assert (unit["draining"], unit["active"]) == (True, {"short": 0, "long": 0})
        assert "drained" in cli("units").stdout
        dispatcher = running.child("--unit unit-2")
        os.kill(dispatcher.pid, signal.SIGTERM)
        wait_for(lambda: running.said.count("dispatcher-unit-2") >= 1)
        wait_for(lambda: _other(running, dispatcher.pid))
        wait_for(lambda: listed().get("unit-2", {}).get("alive", False))
        wait_for(lambda: len(chats.units) > seen + 20)
        # What was claimed before the order may have ended after it.
        assert "unit-2" not in chats.units[seen + 4 :]
        assert listed()["unit-2"]["draining"] is True
        resumed = cli("units", "resume", "unit-2")
        assert resumed.stdout == "unit-2 takes jobs again\n"
        seen = len(chats.units)
        wait_for(lambda: "unit-2" in chats.units[seen:])
    assert set(chats.statuses) == {200}


def _other(running: Any, pid: int) -> bool:
    try:
        return bool(running.child("--unit unit-2").pid != pid)
    except LookupError:
        return False


def test_jobs_that_run_on_after_the_time_is_over_are_an_exit_code(
    running: Any, cli: Cli, listed: Callable[[], dict[str, Any]]
) -> None:
    with Chats(running.url, clients=16) as chats:
        wait_for(lambda: "unit-1" in chats.units)
        late = cli("units", "drain", "unit-1", "--timeout-s", "0")
        held = listed()["unit-1"]["draining"]
        assert (late.returncode, held) in {(3, True), (0, True)}
        assert ("is not drained after 0 s" in late.stdout) == (late.returncode == 3)


def test_the_last_unit_that_takes_jobs_is_drained_with_a_warning(
    cli: Cli, listed: Callable[[], dict[str, Any]]
) -> None:
    assert "warning" not in cli("units", "drain", "unit-1", "--no-wait").stdout
    last = cli("units", "drain", "unit-2", "--no-wait")
    assert "warning: unit-2 is the last unit that takes jobs" in last.stdout
    assert [unit["draining"] for unit in listed().values()] == [True, True]


def test_resuming_a_unit_that_was_not_draining_says_so(cli: Cli) -> None:
    assert cli("units", "resume", "unit-1").stdout.startswith("unit-1 was not draining")


@pytest.mark.parametrize("command", ["drain", "resume"])
def test_an_unknown_unit_is_one_line_that_names_those_there_are(cli: Cli, command: str) -> None:
    said = cli("units", command, "unit-9")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == "adasplit: there is no unit unit-9; there is: unit-1, unit-2\n"


def test_without_redis_it_is_one_line(cli_alone: Cli, unused_port: int) -> None:
    said = cli_alone("units", "drain", "unit-1", "--redis-url", f"redis://127.0.0.1:{unused_port}")
    assert said.returncode == 1
    assert said.stderr.startswith("adasplit: Redis does not answer: ")
    assert "\n" not in said.stderr.strip()
