"""docs/simulator.md names what there is."""

import dataclasses
import re
from pathlib import Path

import pytest

from simulator.faults import PER_REQUEST, WHOLE_UNIT, Fault
from simulator.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [*PER_REQUEST, *WHOLE_UNIT])
def test_every_kind_of_fault_has_its_row(kind: str) -> None:
    assert f"\n| `{kind}` |" in PAGE


@pytest.mark.parametrize("field", [one.name for one in dataclasses.fields(Fault)])
def test_every_field_of_a_fault_is_explained(field: str) -> None:
    assert f"`{field}`" in PAGE or f'"{field}"' in PAGE


def test_the_flags_are_those_of_the_settings() -> None:
    rows = re.findall(r"^\| (`--[^|]+) \|", PAGE, flags=re.MULTILINE)
    documented = {flag.replace("-", "_") for flag in re.findall(r"`--([a-z-]+)`", " ".join(rows))}
    settings = {one.name for one in dataclasses.fields(Settings)}
    assert documented == settings - {"faults"} | {"fault"}
