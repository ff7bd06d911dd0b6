"""What arrives when: the merged, thinned, spread and scaled list that a seed decides."""

import re
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.load import Load
from bench.prompts import PromptMaker
from bench.sources import read_source
from bench.spec import SpecError
from bench.traces import AZURE as AZURE_COLUMNS
from bench.traces import MOONCAKE as MOONCAKE_COLUMNS
from bench.traces import Columns, TraceError, TraceRow, read_trace
from bench.workload import Oversize, Workload

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9305900,396,109
2023-11-16 18:16:46.6805900,879,55
"""
MOONCAKE = """{"timestamp": 1000, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}
{"timestamp": 1000, "input_length": 100, "output_length": 490, "hash_ids": [0]}
{"timestamp": 4000, "input_length": 9000, "output_length": 0, "hash_ids": [2]}
"""


@pytest.fixture
def azure(tmp_path: Path) -> Path:
    path = tmp_path / "azure.csv"
    path.write_text(AZURE)
    return path


@pytest.fixture
def mooncake(tmp_path: Path) -> Path:
    path = tmp_path / "mooncake.jsonl"
    path.write_text(MOONCAKE)
    return path


@pytest.fixture
def lumps(tmp_path: Path) -> Path:
    """Ten arrivals in each lump of 3 s, 200 lumps."""
    path = tmp_path / "lumps.jsonl"
    rows = (
        f'{{"timestamp": {3000 * (n // 10)}, "input_length": {5000 + n}, "output_length": 9}}\n'
        for n in range(2000)
    )
    path.write_text("".join(rows))
    return path


def load(*sources: str, duration_s: float = 600, seed: int = 1, **more: Any) -> Workload:
    total_tokens = more.pop("total_tokens", None)
    return Load(sources, duration_s, seed, **more).workload(total_tokens)


def test_azure_times_count_from_the_first_row(azure: Path) -> None:
    rows = list(read_trace(azure, AZURE_COLUMNS))
    assert [round(row.at_s, 5) for row in rows] == [0, 4.25, 60]
    assert (rows[1].prompt_tokens, rows[1].output_tokens) == (396, 109)


def test_mooncake_times_become_seconds_from_the_first_row(mooncake: Path) -> None:
    assert list(read_trace(mooncake, MOONCAKE_COLUMNS)) == [
        TraceRow(0, 6758, 500),
        TraceRow(0, 100, 490),
        TraceRow(3, 9000, 0),
    ]


def test_any_log_can_be_read_by_naming_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("when,in,out\n1000000,10.0,2\n1500000,20,3\n")
    assert list(read_trace(path, Columns("when", "in", "out", "us"))) == [
        TraceRow(0, 10, 2),
        TraceRow(0.5, 20, 3),
    ]
    found = load(f"trace:{path},time=when,prompt=in,output=out,unit=us,name=own")
    assert [(one.at_s, one.source) for one in found.arrivals] == [(0, "own"), (0.5, "own")]


def test_a_malformed_row_names_its_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(AZURE.replace("396", "many"))
    with pytest.raises(TraceError, match=r"broken\.csv, line 3: .*many"):
        load(f"azure:{path}")


def test_a_file_of_another_format_names_the_missing_field(mooncake: Path) -> None:
    with pytest.raises(TraceError, match="line 1: no field 'TIMESTAMP'"):
        load(f"azure:{mooncake}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"nothing\.csv cannot be read"):
        load(f"azure:{tmp_path}/nothing.csv")


def test_a_source_may_take_prompts_of_some_lengths_only(mooncake: Path) -> None:
    found = load(f"mooncake:{mooncake},min-tokens=4096,max-tokens=8000")
    assert [one.prompt_tokens for one in found.arrivals] == [6758]


def test_an_answer_of_no_tokens_is_asked_for_as_one(mooncake: Path) -> None:
    assert load(f"mooncake:{mooncake}").arrivals[-1].output_tokens == 1


def test_arrivals_spread_over_their_own_lump_only(lumps: Path) -> None:
    found = load(f"mooncake:{lumps}", duration_s=1000).arrivals
    delays_s = [one.at_s - 3 * ((one.prompt_tokens - 5000) // 10) for one in found]
    assert all(0 <= delay_s < 3 for delay_s in delays_s)
    assert 1.4 < sum(delays_s) / len(delays_s) < 1.6
    assert len({one.at_s for one in found}) == len(found) == 2000


def test_thinning_keeps_about_the_share_it_was_given(lumps: Path) -> None:
    assert 500 < len(load(f"mooncake:{lumps},thin=0.3").arrivals) < 700
    assert not load(f"mooncake:{lumps},thin=0").arrivals


def test_the_same_seed_gives_the_same_load_and_another_gives_another(lumps: Path) -> None:
    sources = (f"mooncake:{lumps},thin=0.1", "poisson,rate=2,prompt=lognormal(600,1),output=50")
    first, again, other = load(*sources), load(*sources), load(*sources, seed=2)
    assert first == again
    assert first.digest() == again.digest()
    assert len(first.digest()) == 64
    assert other.digest() != first.digest()
    assert load(sources[0]).digest() != first.digest()


def test_a_row_keeps_its_fate_when_others_are_left_out(lumps: Path) -> None:
    every = load(f"mooncake:{lumps},thin=0.3").arrivals
    late = load(f"mooncake:{lumps},thin=0.3,min-tokens=6000").arrivals
    assert late == tuple(one for one in every if one.prompt_tokens >= 6000)


def test_sources_merge_in_order_of_time(azure: Path, mooncake: Path) -> None:
    found = load(f"mooncake:{mooncake},name=docs", f"azure:{azure}")
    times = [one.at_s for one in found.arrivals]
    assert times == sorted(times)
    assert found.sources() == {"azure": 3, "docs": 3}


def test_a_window_of_a_trace_is_played_at_its_scale(azure: Path) -> None:
    slow = load(f"azure:{azure},scale=0.5", duration_s=20)
    assert [round(one.at_s, 5) for one in slow.arrivals] == [0, 8.5]
    later = load(f"azure:{azure},skip-s=4,after-s=10")
    assert [round(one.at_s, 5) for one in later.arrivals] == [10.25, 66]
    short = load(f"azure:{azure},for-s=5")
    assert len(short.arrivals) == 2


def test_nothing_that_the_lump_moves_past_the_end_remains(lumps: Path) -> None:
    found = load(f"mooncake:{lumps}", duration_s=4)
    assert 10 < len(found.arrivals) < 20
    assert found.span_s < 4


def test_poisson_arrivals_come_at_their_rate_and_vary_as_they_should() -> None:
    found = load("poisson,rate=5,prompt=100,output=10", duration_s=2000).arrivals
    gaps_s = [late.at_s - early.at_s for early, late in pairwise(found)]
    mean_s = statistics.fmean(gaps_s)
    assert mean_s == pytest.approx(0.2, rel=0.05)
    assert statistics.stdev(gaps_s) / mean_s == pytest.approx(1, rel=0.05)


def test_bursts_come_in_their_on_times_only() -> None:
    found = load("onoff,rate=20,on-s=5,off-s=15,prompt=1,output=1", duration_s=200).arrivals
    assert all(one.at_s % 20 < 5 for one in found)
    assert 800 < len(found) < 1200
    mixed = load("onoff,rate=20,on-s=5,off-s=15,off-rate=1,prompt=1,output=1", duration_s=200)
    assert 100 < len([one for one in mixed.arrivals if one.at_s % 20 >= 5]) < 200


def test_periods_of_bursts_may_be_random() -> None:
    text = "onoff,rate=20,on-s=5,off-s=15,periods=random,prompt=1,output=1"
    found = load(text, duration_s=20_000).arrivals
    assert len(found) == pytest.approx(20 * 20_000 / 4, rel=0.15)
    assert any(one.at_s % 20 >= 5 for one in found)


@pytest.mark.parametrize(
    ("lengths", "least", "most", "median"),
    [
        ("600", 600, 600, 600),
        ("fixed(600)", 600, 600, 600),
        ("uniform(50,150)", 50, 150, 100),
        ("choice(10,20,20)", 10, 20, 20),
        ("lognormal(600,0.5)", 1, 100_000, 600),
        ("exponential(100)", 1, 100_000, 69),
    ],
)
def test_lengths_follow_their_distribution(
    lengths: str, least: int, most: int, median: int
) -> None:
    found = load(f"poisson,rate=100,prompt={lengths},output=1", duration_s=100).arrivals
    drawn = [one.prompt_tokens for one in found]
    assert least <= min(drawn) <= max(drawn) <= most
    assert statistics.median(drawn) == pytest.approx(median, rel=0.06)


def test_other_lengths_leave_the_times_as_they_are() -> None:
    one, other = (
        load(f"poisson,rate=1,prompt={n},output=uniform(1,9)") for n in (1, "uniform(1,9)")
    )
    assert [a.at_s for a in one.arrivals] == [a.at_s for a in other.arrivals]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("uniform,rate=1", "there is no kind uniform"),
        ("poisson,prompt=1,output=1", "rate= is missing"),
        ("poisson,rate=0,prompt=1,output=1", "rate=0: not above 0"),
        ("poisson,rate=1,prompt=normal(5),output=1", "there is no normal"),
        ("poisson,rate=1,prompt=uniform(5),output=1", "another count"),
        ("poisson,rate=1,prompt=lognormal(0,1),output=1", "0 is not above 0"),
        ("poisson,rate=1,prompt=uniform(9,5),output=1", "9 is more than 5"),
        ("poisson,rate=1,prompt=1,output=1,thin=1", "poisson knows no thin"),
        ("poisson:file,rate=1,prompt=1,output=1", "takes no file"),
        ("poisson,rate=1,rate=2,prompt=1,output=1", "rate= stands there twice"),
        ("poisson,fast", "fast stands where key=value should"),
        ("azure", "needs a file"),
        ("azure:x,thin=2", "thin=2: more than 1"),
        ("trace:x,time=a,prompt=b", "output= is missing"),
        ("trace:x,time=a,prompt=b,output=c,unit=h", "not one of"),
    ],
)
def test_what_is_no_source_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=re.escape(said)) as refusal:
        read_source(text)
    assert "\n" not in str(refusal.value)


def test_two_sources_of_one_name_are_refused() -> None:
    text = "poisson,rate=1,prompt=1,output=1"
    with pytest.raises(SpecError, match="two sources are called poisson"):
        load(text, text)
    assert load(text, f"{text},name=other").sources().keys() == {"poisson", "other"}


def test_a_prompt_too_long_is_clamped_and_counted() -> None:
    text = "poisson,rate=1,prompt=choice(9000,50),output=100"
    found = load(text, max_prompt_tokens=8000, total_tokens=8050)
    assert {one.prompt_tokens for one in found.arrivals} == {7950, 50}
    assert found.clamped > 100
    assert found.dropped == 0


def test_a_prompt_too_long_is_dropped_and_counted_when_asked() -> None:
    text = "poisson,rate=1,prompt=choice(9000,50),output=100"
    found = load(text, max_prompt_tokens=8000, oversize=Oversize.DROP)
    assert {one.prompt_tokens for one in found.arrivals} == {50}
    assert found.dropped > 100


def test_an_answer_longer_than_the_unit_leaves_no_prompt_to_clamp_to() -> None:
    found = load("poisson,rate=1,prompt=10,output=9000", total_tokens=8000)
    assert not found.arrivals
    assert found.dropped > 100


def test_requests_are_planned_by_class_and_for_the_urls_in_turn() -> None:
    spec = Load(("poisson,rate=9,prompt=choice(4095,4096),output=1",))
    rows = spec.planned(spec.workload(), ("a", "b"), lead_s=1)
    assert [row.order.url for row in rows[:4]] == ["a", "b", "a", "b"]
    by_class = {(row.order.size_class, row.order.prompt_tokens) for row in rows}
    assert by_class == {("short", 4095), ("long", 4096)}
    assert all(row.order.intended_s >= 1 for row in rows)


@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 4096, 40_000])
def test_a_prompt_has_exactly_as_many_short_words_as_asked(tokens: int) -> None:
    prompt = PromptMaker(1).prompt(3, tokens)
    words = prompt.split(" ")
    assert len(words) == tokens
    assert {len(word) for word in words} == {3}


def test_prompts_are_the_same_for_a_seed_and_differ_from_their_first_words_on() -> None:
    maker = PromptMaker(1)
    assert maker.prompt(5, 100) == PromptMaker(1).prompt(5, 100)
    assert maker.prompt(5, 100) != PromptMaker(2).prompt(5, 100)
    heads = {maker.prompt(index, 100)[:31] for index in range(3000)}
    assert len(heads) == 3000
