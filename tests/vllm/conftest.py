"""Two real vLLM servers on the CPU with AdaSplit in front; `make test-vllm` says where vLLM is."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from openai import AsyncOpenAI

from tests.cli.conftest import Up, end, start_up, wait_for
from tests.conftest import DIES_WITH_ITS_PARENT, free_ports
from tests.simulator.conftest import summed
from tests.vllm.model import MAX_MODEL_LEN, MODEL, write_model

PYTHON = os.environ.get("VLLM_PYTHON", "")
_READY_WITHIN_S = 600.0
# One core and 1 GB of KV cache each; nothing is fetched or reported.
_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if PYTHON:
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="real engines: make test-vllm"))


@dataclass(frozen=True)
class Engine:
    """A running vLLM server."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"vLLM ended: {self.log.read_text()[-3000:]}")
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name which carry these labels."""
        page = httpx.get(f"{self.url}/metrics", trust_env=False).text
        return summed(page, name, **labels)


def _start(folder: Path, number: int) -> Engine:
    (port,) = free_ports(1)
    log = folder / f"vllm-{number}.log"
    flags = {
        "model": folder / "model",
        "served-model-name": MODEL,
        "load-format": "dummy",
        "dtype": "bfloat16",
        "block-size": 32,
        "max-num-seqs": 16,
        "max-model-len": MAX_MODEL_LEN,
        "host": "127.0.0.1",
        "port": port,
    }
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", DIES_WITH_ITS_PARENT, *command],
            env=os.environ | _ENVIRONMENT,
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return Engine(f"http://127.0.0.1:{port}", process, log)


def _end(engine: Engine) -> None:
    """Its engine core and their workers are processes of their own, which vLLM ends in order."""
    family = psutil.Process(engine.process.pid).children(recursive=True)
    engine.process.terminate()
    try:
        engine.process.wait(30)
    except subprocess.TimeoutExpired:
        engine.process.kill()
        engine.process.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    for one in alive:
        one.kill()


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    folder = tmp_path_factory.mktemp("vllm")
    write_model(folder / "model")
    started = {f"unit-{number}": _start(folder, number) for number in (1, 2)}
    try:
        wait_for(
            lambda: all(engine.ready for engine in started.values()), _READY_WITHIN_S, "vLLM ready"
        )
        yield started
    finally:
        for engine in started.values():
            _end(engine)


@pytest.fixture(scope="session")
def system(engines: dict[str, Engine], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Embedded Valkey, gateway, scaler and a dispatcher for each engine."""
    units = [f"--unit={name}={engine.url}" for name, engine in engines.items()]
    one = start_up(tmp_path_factory.mktemp("system"), *units)
    try:
        one.wait_ready()
        yield one
    finally:
        end(one)


@pytest.fixture
async def client(system: Up) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{system.url}/v1", api_key="none", timeout=120, max_retries=0
    ) as one:
        yield one
