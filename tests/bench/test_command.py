"""The command lines: what a user did wrong is one line, before anything is sent."""

import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from bench import overhead, replay

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6,374,44\n"


def ran(module: object, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(module.command)  # type: ignore[attr-defined]  # both modules have one
    return CliRunner().invoke(app, list(arguments))


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
        ran(replay, "--url", nobody, "--azure", trace),
        ran(overhead, "--gateway", nobody, "--unit", nobody),
    ):
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert f"{nobody} does not list its models" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "127.0.0.1:8000"], "is not an http"),
        (["--url", "http://unit"], "give --azure"),
        (["--url", "http://unit", "--limit-concurrency", "few"], "neither none nor"),
        (["--url", "http://unit", "--out", "/nowhere/at/all.json"], "is not a folder"),
        (["--url", "http://unit", "--thin", "2"], "--thin"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_reason(arguments: list[str], said: str) -> None:
    result = ran(replay, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_no_limit_on_concurrency_may_be_said_outright(trace: str, nobody: str) -> None:
    result = ran(replay, "--url", nobody, "--azure", trace, "--limit-concurrency", "none")
    assert result.exit_code == 1
