"""Any sequence of calls leaves Redis as the model of the design says, and is answered as it says.

The examples are the same in every run; `MODEL_EXAMPLES=2000` draws as many new ones.
"""

import os

from fakeredis import FakeRedis, FakeServer
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from common.scripts import load_scripts
from tests.conftest import Server
from tests.lua.conftest import plain
from tests.lua.machine import Machine
from tests.lua.play import Play

_ASKED = int(os.environ.get("MODEL_EXAMPLES", "0"))


def _examples(few: int) -> settings:
    return settings(
        max_examples=_ASKED or few,
        stateful_step_count=40,
        derandomize=not _ASKED,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def _on_fakeredis() -> Play:
    scripts = {name: plain(script) for name, script in load_scripts().items()}
    return Play(FakeRedis(server=FakeServer(), protocol=2), scripts)


def test_any_calls_leave_what_the_model_says() -> None:
    run_state_machine_as_test(lambda: Machine(_on_fakeredis), settings=_examples(40))


def test_a_real_server_agrees(valkey: Server) -> None:
    with Redis.from_url(valkey.url, protocol=2) as client:
        scripts = load_scripts()
        machine = lambda: Machine(lambda: Play(client, scripts))  # noqa: E731  # as hypothesis wants it
        run_state_machine_as_test(machine, settings=_examples(12))
