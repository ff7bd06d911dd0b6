"""`adasplit bench compare` as it is typed: real processes, small loads, fast units."""

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from bench.app import bench_app
from bench.result import read_result
from tests.conftest import free_ports

LOAD = (
    *("--source", "poisson,name=chats,rate=4,prompt=uniform(50,300),output=uniform(2,20)"),
    *("--source", "poisson,name=documents,rate=0.5,prompt=6000,output=5"),
    *("--duration-s", "20", "--speed", "10"),
)


def block_of_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for _ in range(100):
        (first,) = free_ports(1)
        if first + count < 2**16 and not _taken(first, count):
            return first
    raise RuntimeError("no free ports")


def _taken(first: int, count: int) -> bool:
    listening = {one.laddr.port for one in psutil.net_connections("tcp") if one.laddr}
    return bool(listening & set(range(first, first + count)))


def compare(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    first = block_of_ports(10)
    ports = ("--port", str(first), "--unit-port", str(first + 1), "--admin-port", str(first + 5))
    command = [sys.executable, "-m", "cli", "bench", "compare", *arguments, *ports]
    return subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )


def test_each_system_meets_the_same_load_on_units_of_its_own(tmp_path: Path) -> None:
    systems = ("ours=adasplit:worker_concurrency_limit_short=16", "static:1/1")
    ran = compare(tmp_path, *systems, *LOAD, "--units", "2", "--out", "found", "--title", "A <b>")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = [read_result(path) for path in sorted((tmp_path / "found").glob("*.json"))]
    assert [one["system"]["name"] for one in found] == ["ours", "static:1/1"]
    assert len({one["workload"]["digest"] for one in found}) == 1
    requests = found[0]["workload"]["requests"]
    assert requests > 50
    assert all(one["outcomes"] == {"ok": requests} for one in found)
    assert all(one["watch"]["all_zero_at_end"] for one in found)
    ours, static = found
    assert ours["watch"]["timeline"][-1]["units"]["unit-1"]["limits"]["short"] == 16
    assert ours["counters"]["unread"] == []
    by_unit = {"unit-1": "short", "unit-2": "long"}
    said = zip(static["rows"]["said_unit"], static["rows"]["said_class"], strict=True)
    assert all(by_unit[unit] == size_class for unit, size_class in said)
    html = (tmp_path / "found" / "report.html").read_text()
    assert "A &lt;b&gt;" in html
    assert len(re.findall("data:image/png", html)) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("best",), "there is no best"),
        (("static:9/9",), "4 units cannot be divided so"),
        (("fifo", "--source", "poisson"), "rate= is missing"),
        (("gone=http://127.0.0.1:1",), "does not list its models"),
    ],
)
def test_a_mistake_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    given = ("compare", *arguments, *LOAD, "--out", str(tmp_path / "found"))
    ran = CliRunner().invoke(bench_app(), given)
    assert ran.exit_code == 1
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
