"""`adasplit monitor` as a user runs it, beside an `adasplit up`."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.cli.conftest import wait_for

Cli = Callable[..., CompletedProcess[str]]


def test_it_finds_the_pool_and_shows_every_unit(cli: Cli) -> None:
    said = cli("monitor", "--samples", "2", "--every-s", "0.1", "--json")
    assert (said.returncode, said.stderr) == (0, "")
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    assert [(row["kind"], row["name"]) for row in rows] == [
        *[("queue", "short"), ("queue", "long"), ("unit", "unit-1"), ("unit", "unit-2")] * 2
    ]
    assert {row["depth"] for row in rows if row["kind"] == "queue"} == {0}
    last = rows[-1]
    assert (last["state"], last["running"], last["generation_tokens_per_s"]) == ("ok", 0.0, 0.0)
    assert last["ttft_p50_s"] is None


def test_from_redis_it_sees_the_same(running: Any, cli: Cli) -> None:
    note = next(Path(running.environment["XDG_RUNTIME_DIR"]).rglob("up.json"))
    redis_url = json.loads(note.read_text())["redis_url"]
    said = cli("monitor", "--samples", "1", "--redis-url", redis_url)
    assert said.returncode == 0
    assert "short 0 waiting, long 0 waiting | unit-1 ok 0+0" in said.stdout


def test_it_ends_in_order_at_ctrl_c_and_its_recording_can_be_plotted(
    running: Any, cli: Cli, tmp_path: Path
) -> None:
    recording, picture = tmp_path / "r.csv", tmp_path / "r.png"
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "monitor", "--every-s", "0.1", "--record", str(recording)],
        env=running.environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(
            lambda: recording.exists() and recording.read_text().count("unit-2") > 2, 60, "rows"
        )
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in out + err
    assert err.startswith(f"{recording}: ")
    drawn = cli("monitor", "plot", str(recording), "--out", str(picture))
    assert (drawn.returncode, drawn.stderr) == (0, "")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_without_a_pool_it_watches_the_units_that_are_given(
    running: Any, cli_alone: Cli, unused_port: int
) -> None:
    unit = f"http://127.0.0.1:{running.port + 1}"
    nobody = f"http://127.0.0.1:{unused_port}"
    arguments = ("--url", nobody, "--unit", unit, "--unit", f"gone={nobody}")
    said = cli_alone("monitor", "--samples", "1", "--json", *arguments)
    rows = {row["name"]: row for row in map(json.loads, said.stdout.splitlines())}
    assert rows["short"]["depth"] is None
    assert rows["gone"]["state"] == "silent"
    assert rows["gone"]["running"] is None
    known = rows[f"127.0.0.1-{running.port + 1}"]
    assert (known["state"], known["running"], known["role"]) == ("ok", 0.0, None)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--record", "r.parquet"), "Parquet is not written"),
        (("--record", "r.txt"), "a recording ends in .csv or .jsonl"),
        (("--record", "nowhere/r.csv"), "No such file"),
        (("--unit", "nonsense"), "not a unit"),
        (("plot", "r.csv", "--out", "r.png"), "No such file"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    cli_alone: Cli, arguments: tuple[str, ...], reason: str
) -> None:
    said = cli_alone("monitor", *arguments)
    assert said.returncode == 1
    assert reason in said.stderr
    assert said.stderr.startswith("adasplit: ")
    assert "\n" not in said.stderr.strip()
