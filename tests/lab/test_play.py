"""Whole plays: every request has its one end, slots hold, and nothing is left behind."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.result import Run
from cli.__main__ import _app
from tests.lab.conftest import CHATS, DOCUMENTS, played

SYSTEMS = ["adasplit", "adasplit:policy=adaptive", "static:2/2", "round-robin",
           "least-in-flight", "fifo"]  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
async def test_every_request_is_answered_whole(system: str) -> None:
    run = await played(system)
    assert {row.outcome for row in run.rows} == {"ok"}
    for row in run.rows:
        assert row.output_tokens == row.order.output_tokens == row.token_events
        assert row.first_token_s is not None
        assert row.end_s is not None
        assert row.order.intended_s < row.first_token_s <= row.end_s


@pytest.mark.parametrize("policy", ["published", "adaptive"])
async def test_slots_hold_and_all_counts_end_at_0(policy: str) -> None:
    run = await played(policy=policy, duration_s=60)
    assert run.watch is not None
    assert max(run.watch["max_load"].values()) <= 1
    assert run.watch["all_zero_at_end"]


async def test_a_static_partition_never_mixes_classes() -> None:
    run = await played("static:3/1")
    units = {name: {row.headers["unit"] for row in run.rows if row.order.size_class == name}
             for name in ("short", "long")}  # fmt: skip
    assert units["long"] == {"unit-4"}
    assert units["short"] <= {"unit-1", "unit-2", "unit-3"}


async def test_who_waits_too_long_leaves_and_holds_nothing() -> None:
    crowd = "onoff,name=crowd,rate=12,on-s=5,off-s=100,prompt=1000,output=20"
    run = await played("adasplit", crowd, units=1, duration_s=30, timeout_s=5)
    outcomes = {row.outcome for row in run.rows}
    assert outcomes == {"ok", "timeout"}
    assert run.watch is not None
    assert run.watch["all_zero_at_end"]


async def test_a_full_queue_refuses() -> None:
    crowd = "onoff,name=crowd,rate=40,on-s=5,off-s=100,prompt=2000,output=50"
    run = await played("adasplit", crowd, units=1, duration_s=6, max_queue_depth_short="5")
    assert "http_429:queue_full" in {row.outcome for row in run.rows}


def test_two_plays_of_one_seed_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    files = [play_to(tmp_path / name, "--seed", "3") for name in ("one", "two")]
    assert files[0] == files[1]
    assert {*json.loads(files[0])["outcomes"]} == {"ok"}


def play_to(folder: Path, *options: str) -> bytes:
    """Run the command as a user does, and give what it wrote."""
    arguments = ["lab", "adasplit:policy=adaptive", "--source", CHATS, "--source", DOCUMENTS]
    arguments += ["--duration-s", "15", "--out", str(folder), *options]
    done = CliRunner().invoke(_app(), arguments)
    assert done.exit_code == 0, done.output
    (result,) = folder.glob("*.json")
    return result.read_bytes()


async def test_online_limits_keep_the_tokens_of_chats_in_time_under_a_crowd() -> None:
    crowd = "poisson,name=crowd,rate=8,prompt=lognormal(2000,0.3),output=lognormal(120,0.5)"
    slow, online = [
        await played("adasplit", crowd, units=2, duration_s=60, slots=slots)
        for slots in ("fixed", "online")
    ]
    assert tpot_p99_s(slow) > 0.15
    assert tpot_p99_s(online) < 0.1
    # Waiting goes to the queue, not to the units: most of the throughput stays.
    assert online.result()["span_s"] < 1.5 * slow.result()["span_s"]


async def test_online_limits_cost_nothing_while_there_is_room() -> None:
    fixed, online = [
        (await played(slots=slots)).result()["classes"]["short"] for slots in ("fixed", "online")
    ]
    assert online["ttft_s"]["p99"] <= 1.05 * fixed["ttft_s"]["p99"]
    assert online["goodput"]["share"] == 1


def tpot_p99_s(run: Run) -> float:
    return float(run.result()["classes"]["short"]["tpot_s"]["p99"])
