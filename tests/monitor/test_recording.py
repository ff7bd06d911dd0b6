"""What is recorded is what is read back; unknown is nothing, never 0."""

import csv
from pathlib import Path

import orjson
import pytest

from monitor.plot import draw, plot
from monitor.recording import Recorder, RecordingError, read_recording
from monitor.snapshot import COLUMNS
from monitor.watcher import Watcher
from tests.monitor.conftest import World, page, state_of

SUFFIXES = [".csv", ".jsonl"]


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"recording{request.param}"


@pytest.fixture
async def recording(path: Path, world: World, watch: type[Watcher]) -> Path:
    """Of two units in four snapshots: one stops answering, then the pool's state is away."""
    world.state = state_of("unit-1", "unit-2")
    world.pages = {"unit-1": page(running=1), "unit-2": page(running=0, generated=7)}
    watcher = watch()  # type: ignore[call-arg]  # the fixture needs no argument
    with Recorder(path) as recorder:
        recorder.write(await watcher.snapshot())
        recorder.write(await watcher.snapshot())
        world.pages["unit-1"] = 503
        recorder.write(await watcher.snapshot())
        world.is_unknown()
        recorder.write(await watcher.snapshot())
        assert recorder.rows == 16
    return path


def test_rows_are_read_back_as_they_were(recording: Path) -> None:
    rows = [row for row in read_recording(recording) if row.get("name") == "unit-1"]
    assert [row["state"] for row in rows] == ["ok", "ok", "stale", "stale"]
    assert [row["running"] for row in rows] == [1.0, 1.0, None, None]
    assert [row["role"] for row in rows] == ["short", "short", "short", None]
    assert [row["alive"] for row in rows] == [True, True, True, None]
    depths = [row["depth"] for row in read_recording(recording) if row["name"] == "long"]
    assert depths == [3, 3, 3, None]


def test_a_known_zero_is_told_from_what_is_unknown(recording: Path) -> None:
    rows = [row for row in read_recording(recording) if row["name"] == "unit-2"]
    assert {row["running"] for row in rows} == {0.0}
    assert {row["kv_cache_usage"] for row in rows} == {None}
    # There is no rate before the second reading.
    assert [row["generation_tokens_per_s"] for row in rows] == [None, 0.0, 0.0, 0.0]


def test_unknown_is_an_empty_cell_and_null(recording: Path) -> None:
    text = recording.read_text()
    if recording.suffix == ".csv":
        last = list(csv.reader(text.splitlines()))[-1]
        assert dict(zip(COLUMNS, last, strict=True))["kv_cache_usage"] == ""
    else:
        assert orjson.loads(text.splitlines()[-1])["kv_cache_usage"] is None


def test_a_last_line_that_was_cut_off_is_left_out(recording: Path) -> None:
    whole = read_recording(recording)
    text = recording.read_text()
    recording.write_text(text[: len(text) - 40])
    assert read_recording(recording) == whole[:-1]


def test_a_recording_is_not_written_over(recording: Path) -> None:
    with pytest.raises(RecordingError, match="is there already"):
        Recorder(recording)


@pytest.mark.parametrize("name", ["recording.txt", "recording.parquet", "recording"])
def test_a_recording_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordingError, match=r"\.csv or \.jsonl"):
        Recorder(tmp_path / name)
    with pytest.raises(RecordingError, match=r"\.csv or \.jsonl"):
        read_recording(tmp_path / name)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "[1]\n", '{"a": 1}\n', "{\n"])
def test_a_file_that_is_no_recording_is_one_line(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(RecordingError, match=r"recording\.\w+"):
        read_recording(path)


def test_a_plot_has_gaps_where_nothing_is_known(recording: Path) -> None:
    axes = draw(read_recording(recording), "a title").axes
    running = next(one for one in axes if one.get_ylabel() == "running at the engine")
    of_unit_1 = next(line for line in running.get_lines() if line.get_label() == "unit-1")
    values = [float(value) for value in of_unit_1.get_ydata()]  # type: ignore[union-attr]
    assert values[:2] == [1.0, 1.0]
    assert all(value != value for value in values[2:])  # noqa: PLR0124 - what is not a number


def test_a_plot_is_written_as_a_picture(recording: Path, tmp_path: Path) -> None:
    plot(recording, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
