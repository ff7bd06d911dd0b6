"""Results side by side: what may be compared, and what the report then shows."""

import base64
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.app import bench_app
from bench.comparison import compared
from bench.load import Load
from bench.page import page
from bench.plots import plots
from bench.result import ResultError, Run, System, read_result, write_result
from bench.rows import Row
from bench.timeline import snapshot, summary

LOAD = Load(("poisson,rate=5,prompt=choice(100,5000),output=5",), duration_s=20)
PNG = b"\x89PNG\r\n\x1a\n"


def state(role: str, depth: int) -> dict[str, Any]:
    unit = {
        "role": role,
        "alive": True,
        "active": {"short": 1, "long": depth},
        "limits": {"short": 8, "long": 8},
    }
    return {"units": {"unit-1": unit}, "queues": {"short": {"depth": 0}, "long": {"depth": depth}}}


def answered(row: Row, ttft_s: float) -> Row:
    row.sent_s = row.order.intended_s
    row.first_token_s = row.order.intended_s + ttft_s
    row.tpot_s, row.worst_gap_s, row.queue_s, row.output_tokens = 0.02, 0.1, 0.5, 5
    row.end("ok", row.first_token_s + 0.1)
    return row


def result(name: str, kind: str = "fifo", *, load: Load = LOAD, ttft_s: float = 0.5) -> Any:
    work = load.workload()
    rows = [answered(row, ttft_s) for row in load.planned(work, ("http://x",))[1:]]
    refused = load.planned(work, ("http://x",))[0]
    refused.end("http_429:queue_full", refused.order.intended_s)
    seen = [snapshot(state("short", 0), 0.0, 0), snapshot(state("long", 3), 10.0, 2)]
    return Run(
        system=System(name, kind),
        load=load,
        work=work,
        rows=[refused, *rows],
        started_at=datetime.now(UTC),
        model="m",
        objectives={"short": {"ttft_s": 1.0}, "long": {"e2e_s": 1.0}},
        watch=summary(seen),
    ).result()


def test_figures_stand_side_by_side_and_the_best_is_marked() -> None:
    comparison = compared([result("slow", ttft_s=2.0), result("quick", ttft_s=0.5)])
    assert comparison.classes == ["short", "long", "all"]
    shown = page(comparison, [], "Two <systems>")
    assert "<h1>Two &lt;systems&gt;</h1>" in shown
    slow, quick = re.findall(r"<tr><td>(?:slow|quick)</td>.*", shown)[:2]
    assert '<td class="best">0.50</td>' in quick
    assert '<td class="best">0.50</td>' not in slow
    assert "http" not in re.sub(r"<details>.*?</details>", "", shown, flags=re.DOTALL)


def test_objectives_may_be_others_than_those_of_the_run() -> None:
    results = [result("slow", ttft_s=2.0)]
    (entry,) = compared(results).entries
    assert entry.classes["short"]["goodput"]["share"] == 0
    (entry,) = compared(results, {"short": {"ttft_s": 3.0}}).entries
    assert entry.classes["short"]["goodput"]["share"] > 0.9
    assert entry.classes["long"]["goodput"] is None


def test_results_of_different_loads_are_refused() -> None:
    other = Load(LOAD.sources, duration_s=20, seed=2)
    with pytest.raises(ResultError, match=r"one and two met different loads \([0-9a-f]{12} and"):
        compared([result("one"), result("two", load=other)])


def test_results_of_different_thresholds_are_refused() -> None:
    other = Load(LOAD.sources, duration_s=20, long_threshold_tokens=50)
    with pytest.raises(ResultError, match="call prompts long from 4096 and 50"):
        compared([result("one"), result("two", load=other)])


def test_no_result_makes_no_report() -> None:
    with pytest.raises(ResultError, match="no result"):
        compared([])


def test_a_system_that_stands_there_twice_gets_a_number() -> None:
    comparison = compared([result("fifo"), result("fifo"), result("fifo")])
    assert [entry.name for entry in comparison.entries] == ["fifo", "fifo (2)", "fifo (3)"]


def test_what_makes_figures_doubtful_is_noted() -> None:
    first, second = result("one"), result("two")
    first["client"] = {"warnings": ["late"]}
    second["interrupted"] = True
    second["speed"] = 5.0
    notes = compared([first, second]).notes
    assert notes == [
        "not all ran at the same speed: 1, 5",
        "one: the client was the bottleneck: late",
        "two: the run was interrupted",
    ]


def test_every_plot_is_drawn_and_only_adasplit_has_a_timeline() -> None:
    comparison = compared([result("ours", "adasplit"), result("theirs", "static")])
    drawn = list(plots(comparison))
    assert [name for name, _, _ in drawn] == [
        "ttft.png",
        "e2e.png",
        "goodput.png",
        "timeline-ours.png",
    ]
    assert all(png.startswith(PNG) for _, _, png in drawn)


def test_a_load_of_one_class_has_one_table_and_one_panel() -> None:
    load = Load(("poisson,rate=5,prompt=100,output=5",), duration_s=20)
    comparison = compared([result("one", load=load)])
    assert comparison.classes == ["short"]
    assert len(list(plots(comparison))) == 4


def test_saved_results_become_one_report(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_result(tmp_path / f"{name}.json", result(name))
    files = [str(tmp_path / f"{name}.json") for name in ("one", "two")]
    out = tmp_path / "report"
    ran = CliRunner().invoke(bench_app(), ["report", *files, "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    html = (out / "report.html").read_text()
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert (out / "ttft.png").read_bytes() == base64.b64decode(images[0])
    assert "short requests" in ran.output


def test_a_report_of_different_loads_is_refused_in_one_line(tmp_path: Path) -> None:
    write_result(tmp_path / "a.json", result("a"))
    write_result(tmp_path / "b.json", result("b", load=Load(LOAD.sources, duration_s=10)))
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    ran = CliRunner().invoke(bench_app(), ["report", *files, "--out", str(tmp_path / "r")])
    assert ran.exit_code == 1
    assert "met different loads" in ran.stderr
    assert not (tmp_path / "r").exists()


def test_a_result_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    one = result("one")
    write_result(tmp_path / "one.json", one)
    again = read_result(tmp_path / "one.json")
    assert again["rows"] == one["rows"]
    assert again["classes"] == one["classes"]
    judged = compared([again]).entries[0].classes["short"]
    assert judged["goodput"] == pytest.approx(one["classes"]["short"]["goodput"])
    assert judged["ttft_s"] == pytest.approx(one["classes"]["short"]["ttft_s"], abs=1e-5)
