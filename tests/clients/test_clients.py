"""Clients that others wrote, in environments of their own, against the whole system.

`make test-clients` makes the environments; without them these tests are skipped.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Up, end, start_up

MODEL = "simulated-llama-3-70b"
KEY, SLOW_KEY = "key-of-clients", "key-of-slow"
HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / ".venv-clients" / "bin" / "python"
LONGEST_S = 240


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    one = start_up(
        tmp_path_factory.mktemp("system"),
        *("--units", "2"),
        ADASPLIT_API_KEYS=f"clients:{KEY},slow:{SLOW_KEY}",
        ADASPLIT_KEY_LIMITS="slow:requests=20",
    )
    try:
        one.wait_ready()
        yield one
    finally:
        end(one)


@pytest.fixture(scope="module")
def python_saw(system: Up) -> Any:
    if not PYTHON.exists():
        pytest.skip("no environment of the Python clients: make test-clients")
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(system.output.parent)}
    command = [PYTHON, HERE / "ask_python.py", f"{system.url}/v1", KEY, SLOW_KEY, MODEL]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("SAW ")[2])


def test_litellm_works_unchanged(python_saw: Any) -> None:
    saw = python_saw["litellm"]
    assert saw == {
        "choices": 2,
        "completion_tokens": 5,
        "pieces": 5,
        "streamed_tokens": 5,
        "prompt_tokens": 3,
        "unknown_model": ["NotFoundError", 404],
        "wrong_key": ["AuthenticationError", 401],
        "malformed": ["BadRequestError", 400],
    }


def test_langchain_works_unchanged(python_saw: Any) -> None:
    saw = python_saw["langchain"]
    assert saw.pop("unknown_model")[1] == 404
    assert saw.pop("wrong_key")[1] == 401
    assert saw == {"choices": 2, "completion_tokens": 5, "pieces": 5, "streamed_tokens": 5}


def test_the_official_client_comes_back_when_it_is_told(python_saw: Any) -> None:
    saw = python_saw["openai"]
    assert saw["refused"] == [429, "rate_limit_exceeded"]
    assert saw["waited_s"] >= saw["retry_after_s"] * 0.9 > 0


def test_the_official_client_for_node_works_unchanged(system: Up) -> None:
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules").exists():
        pytest.skip("no environment of the client for Node: make test-clients")
    done = subprocess.run(
        [node, HERE / "ask_openai.mjs", f"{system.url}/v1", KEY, MODEL],
        capture_output=True, text=True, timeout=LONGEST_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "models": [MODEL],
        "choices": 2,
        "logprobs": True,
        "completion_tokens": 10,
        "pieces": 5,
        "streamed_tokens": 5,
        "prompt_tokens": 3,
        "unknown_model": ["NotFoundError", 404, "model_not_found", "model"],
        "malformed": ["BadRequestError", 400, None, "max_tokens"],
        "wrong_key": ["AuthenticationError", 401, "invalid_api_key", None],
    }
