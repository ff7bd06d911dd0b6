"""A short, repeatable run of what `make fuzz` does for minutes."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from tests.cli.conftest import Up, end, start_up
from tests.fuzz.requests import LIMITS, ask, broken_bytes, schema, send_bytes

_SHORT = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    given_settings = {f"ADASPLIT_{name.upper()}": each for name, each in LIMITS.items()}
    one = start_up(tmp_path_factory.mktemp("fuzz"), "--units", "2", **given_settings)
    try:
        one.wait_ready()
        yield one
    finally:
        end(one)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_nothing_that_the_schema_leads_to_is_a_5xx(system: Up, mode: GenerationMode) -> None:
    @_SHORT
    @given(case=schema([mode]).as_strategy())
    def try_one(case: Any) -> None:
        ask(case, system.url)

    try_one()


def test_no_bytes_make_a_5xx_or_hold_a_connection(system: Up) -> None:
    chance = random.Random(1)
    seen = {send_bytes(broken_bytes(chance), system.port) for _ in range(60)}
    assert {200, 400} <= seen
