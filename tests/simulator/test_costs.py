"""The cost model and its file."""

import json
from pathlib import Path

import pytest

from simulator.costs import (
    DEFAULT_CALIBRATION,
    CalibrationError,
    CostModel,
    StepLoad,
    Table,
    read_calibration,
)


@pytest.mark.parametrize(
    ("at", "value"), [(1, 10.0), (2, 20.0), (3, 25.0), (4, 30.0), (6, 40.0), (0, 0.0)]
)
def test_a_table_is_linear_between_its_knots_and_beyond_them(at: float, value: float) -> None:
    assert Table(((1, 10.0), (2, 20.0), (4, 30.0)))(at) == pytest.approx(value)


def load(decodes: int = 0, context: int = 0, prefill: int = 0, before: int = 0) -> StepLoad:
    made = StepLoad()
    for _ in range(decodes):
        made.add_decode(context)
    if prefill:
        made.add_prefill(prefill, before)
    return made


@pytest.mark.parametrize(
    ("cheaper", "dearer"),
    [
        (load(1, 256), load(128, 256)),
        (load(8, 256), load(8, 4096)),
        (load(8, 256), load(8, 256, prefill=128)),
        (load(prefill=512), load(prefill=1024)),
        (load(prefill=8192), load(prefill=8192, before=8192)),
        (load(prefill=8000), load(64, 256, prefill=8000)),
    ],
)
def test_more_work_takes_longer(cheaper: StepLoad, dearer: StepLoad) -> None:
    costs = CostModel(read_calibration())
    assert costs.step_s(cheaper) < costs.step_s(dearer)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"decode_step_s": [[1, 0.02]]}, "two or more knots"),
        ({"prefill_step_s": [[2, 0.02], [1, 0.03]]}, "rising order"),
        ({"decode_context_s": "fast"}, "could not convert"),
        ({"name": None, "kv_cache_tokens": None}, "kv_cache_tokens|int"),
    ],
)
def test_a_bad_calibration_file_is_named_with_its_fault(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    path = tmp_path / "unit.json"
    path.write_text(json.dumps({**json.loads(DEFAULT_CALIBRATION.read_text()), **change}))
    with pytest.raises(CalibrationError, match=complaint) as caught:
        read_calibration(path)
    assert str(path) in str(caught.value)


def test_a_missing_calibration_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"none\.json: No such file"):
        read_calibration(tmp_path / "none.json")
