"""The command lines: what a user did wrong is one line, before anything is sent."""

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.app import bench_app

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6,374,44\n"


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(bench_app(), list(arguments))


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return str(path)


@pytest.fixture
def nobody() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_a_server_that_is_not_there_is_one_line(trace: str, nobody: str) -> None:
    for result in (
        ran("run", "--url", nobody, "--source", f"azure:{trace}"),
        ran("overhead", "--gateway", nobody, "--unit", nobody),
    ):
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert f"{nobody} does not list its models" in result.stderr


SOURCE = ("--source", "poisson,rate=1,prompt=1,output=1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "127.0.0.1:8000", *SOURCE], "is not an http"),
        (["--url", "http://unit"], "--source"),
        (["--url", "http://unit", *SOURCE, "--limit-concurrency", "few"], "neither none nor"),
        (["--url", "http://unit", *SOURCE, "--out", "/nowhere/at/all.json"], "is not a folder"),
        (["--url", "http://unit", *SOURCE, "--prompt-ids", "9-5"], "no range of token ids"),
        (["--url", "http://unit", *SOURCE, "--objective", "short:ttft=x"], "no number of seconds"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_reason(arguments: list[str], said: str) -> None:
    result = ran("run", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_wrong_source_is_one_line(nobody: str) -> None:
    result = ran("run", "--url", nobody, "--source", "poisson,rate=1,prompt=1")
    assert result.exit_code == 1
    assert result.stderr == "poisson,rate=1,prompt=1: output= is missing\n"


def test_no_limit_on_concurrency_may_be_said_outright(trace: str, nobody: str) -> None:
    source = f"azure:{trace}"
    result = ran("run", "--url", nobody, "--source", source, "--limit-concurrency", "none")
    assert result.exit_code == 1
