"""How a unit starts, fails to start, and ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from simulator.settings import SettingsError, read_settings
from tests.simulator.conftest import LIMIT_S, RunningUnit, StartUnit, until


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulator", *flags],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_a_taken_port_gets_one_line(start_unit: StartUnit) -> None:
    port = start_unit().url.rsplit(":", 1)[1]
    ended = run("--port", port)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "in use" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--calibration", "no-such.json"], "No such file"),
        (["--speed", "0"], "speed must be above 0"),
        (["--port", "70000"], "port 70000"),
        (["--max-model-len", "200000"], "more than the KV cache holds"),
        (["--fault", "{"], "not JSON"),
        (["--fault", '{"kind": "nothing"}'], "kind is one of"),
    ],
)
def test_a_setting_that_cannot_be_gets_one_line(flags: list[str], words: str) -> None:
    ended = run(*flags)
    assert ended.returncode == 1
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_at_once_even_while_it_streams(
    start_unit: StartUnit, number: signal.Signals
) -> None:
    unit = start_unit()
    body = {"prompt": "a", "max_tokens": 100_000, "ignore_eos": True, "stream": True}
    async with (
        httpx.AsyncClient(base_url=unit.url, timeout=LIMIT_S) as client,
        client.stream("POST", "/v1/completions", json=body) as answer,
    ):
        parts = answer.aiter_bytes()
        await anext(parts)
        unit.process.send_signal(number)
        with pytest.raises(httpx.HTTPError):
            _ = [part async for part in parts]
    assert await asyncio.to_thread(unit.process.wait, LIMIT_S) == 0


async def test_a_slow_start_answers_503_until_it_is_ready(start_unit: StartUnit) -> None:
    unit = start_unit("--start-s", "60", "--speed", "20")
    assert (await unit.get("/health")).status_code == 503
    assert (await unit.post("/v1/completions", {"prompt": "a"})).status_code == 503
    await unit.until_healthy()
    assert (await unit.post("/v1/completions", {"prompt": "a"})).status_code == 200


async def ask_s(unit: RunningUnit) -> float:
    """Real seconds that the unit says it took for 40 tokens."""
    name = "vllm:e2e_request_latency_seconds_sum"
    before_s = await unit.metric(name)
    body = {"prompt": "a", "max_tokens": 40, "ignore_eos": True}
    assert (await unit.post("/v1/completions", body)).status_code == 200
    return await unit.metric(name) - before_s


@pytest.mark.parametrize("speed", [2, 20])
async def test_speed_makes_everything_faster(start_unit: StartUnit, speed: int) -> None:
    unit = start_unit("--speed", str(speed))
    expected_s = 40 * 0.021 / speed

    async def is_as_fast_as_told() -> bool:
        took_s = await ask_s(unit)
        assert took_s > 0.8 * expected_s
        # A busy machine makes an answer late, but not all of them.
        return took_s < 1.2 * expected_s

    await until(is_as_fast_as_told)


async def test_another_cache_and_another_name_may_be_served(start_unit: StartUnit) -> None:
    unit = start_unit("--model", "m", "--kv-cache-tokens", "1600", "--max-model-len", "1000")
    (model,) = (await unit.get("/v1/models")).json()["data"]
    assert (model["id"], model["max_model_len"]) == ("m", 1000)
    assert await unit.metric("vllm:cache_config_info", num_gpu_blocks="100") == 1


def test_settings_come_from_the_environment_and_flags_win() -> None:
    found = read_settings(
        ["--seed", "3"],
        {
            "SIMULATOR_SPEED": "10",
            "SIMULATOR_MAX_NUM_SEQS": "7",
            "SIMULATOR_SEED": "1",
            "SIMULATOR_FAULT": json.dumps({"kind": "hang", "count": 2}),
        },
    )
    assert (found.speed, found.max_num_seqs, found.seed) == (10, 7, 3)
    assert [fault.kind for fault in found.faults] == ["hang"]


def test_a_calibration_of_another_unit_may_be_given(tmp_path: Path) -> None:
    path = tmp_path / "unit.json"
    path.write_text("{}")
    with pytest.raises(SettingsError, match=r"unit\.json.*name"):
        read_settings(["--calibration", os.fspath(path)], {})
