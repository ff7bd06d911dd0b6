"""What arrives when: the merged, thinned, spread and scaled list that a seed decides."""

from pathlib import Path

import pytest

from bench.prompts import PromptMaker
from bench.traces import TraceError, TraceRow, read_azure, read_mooncake
from bench.workload import Arrival, Limits, Oversize, Workload, chats, documents, merged

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


def lumps(count: int, prompt_tokens: int = 5000) -> list[TraceRow]:
    return [TraceRow(3.0 * (number // 10), prompt_tokens, 10) for number in range(count)]


def long_ones(rows: list[TraceRow], *, thin: float = 1.0, seed: int = 1) -> list[Arrival]:
    found = documents(rows, source="docs", min_prompt_tokens=4096, thin=thin, lump_s=3.0, seed=seed)
    return list(found)


def merge(
    *sources: list[Arrival],
    window_s: float = 600,
    time_scale: float = 1,
    limits: Limits | None = None,
    oversize: Oversize = Oversize.CLAMP,
) -> Workload:
    return merged(
        *sources,
        window_s=window_s,
        time_scale=time_scale,
        limits=limits or Limits(),
        oversize=oversize,
    )


def test_azure_times_count_from_the_first_row(azure: Path) -> None:
    rows = list(read_azure(azure))
    assert [round(row.at_s, 5) for row in rows] == [0, 4.25, 60]
    assert (rows[1].prompt_tokens, rows[1].output_tokens) == (396, 109)


def test_mooncake_times_become_seconds_from_the_first_row(mooncake: Path) -> None:
    assert list(read_mooncake(mooncake)) == [
        TraceRow(0, 6758, 500),
        TraceRow(0, 100, 490),
        TraceRow(3, 9000, 0),
    ]


def test_a_malformed_row_names_its_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(AZURE.replace("396", "many"))
    with pytest.raises(TraceError, match=r"broken\.csv, line 3: .*many"):
        list(read_azure(path))


def test_a_file_of_another_format_names_the_missing_field(mooncake: Path) -> None:
    with pytest.raises(TraceError, match="line 2: no field 'TIMESTAMP'"):
        list(read_azure(mooncake))


def test_documents_are_the_prompts_above_the_bound(mooncake: Path) -> None:
    found = long_ones(list(read_mooncake(mooncake)))
    assert [one.prompt_tokens for one in found] == [6758, 9000]


def test_an_answer_of_no_tokens_is_asked_for_as_one(mooncake: Path) -> None:
    assert long_ones(list(read_mooncake(mooncake)))[-1].output_tokens == 1


def test_documents_spread_over_their_own_lump_only() -> None:
    rows = lumps(1000)
    found = long_ones(rows)
    delays_s = [one.at_s - row.at_s for one, row in zip(found, rows, strict=True)]
    assert all(0 <= delay_s < 3 for delay_s in delays_s)
    assert 1.4 < sum(delays_s) / len(delays_s) < 1.6
    assert len({one.at_s for one in found}) == len(found)


def test_thinning_keeps_about_the_share_it_was_given() -> None:
    assert 700 < len(long_ones(lumps(10_000), thin=0.08)) < 900


def test_thinning_to_nothing_keeps_nothing() -> None:
    assert not long_ones(lumps(100), thin=0.0)


def test_the_same_seed_gives_the_same_documents_and_another_gives_others() -> None:
    rows = lumps(1000)
    assert long_ones(rows, thin=0.1) == long_ones(rows, thin=0.1)
    assert long_ones(rows, thin=0.1) != long_ones(rows, thin=0.1, seed=2)


def test_a_row_keeps_its_fate_when_the_rows_around_it_are_shorter() -> None:
    rows = lumps(500)
    shortened = [TraceRow(row.at_s, 10, 10) for row in rows[:250]] + rows[250:]
    later = [one for one in long_ones(rows, thin=0.3) if one.at_s >= rows[250].at_s + 3]
    assert later == [
        one for one in long_ones(shortened, thin=0.3) if one.at_s >= rows[250].at_s + 3
    ]


def test_sources_merge_in_order_of_time(azure: Path, mooncake: Path) -> None:
    load = merge(
        long_ones(list(read_mooncake(mooncake))), list(chats(read_azure(azure), source="chats"))
    )
    times = [one.at_s for one in load.arrivals]
    assert times == sorted(times)
    assert load.sources() == {"chats": 3, "docs": 2}


def test_the_window_is_trace_time_and_the_scale_comes_after_it(azure: Path) -> None:
    load = merge(list(chats(read_azure(azure), source="chats")), window_s=10, time_scale=0.5)
    assert [round(one.at_s, 5) for one in load.arrivals] == [0, 8.5]


def test_nothing_that_the_lump_moves_past_the_window_remains() -> None:
    load = merge(long_ones(lumps(400)), window_s=4)
    assert 10 < len(load.arrivals) < 20
    assert load.span_s < 4


def test_a_prompt_too_long_is_clamped_and_counted() -> None:
    found = [Arrival(0, 9000, 100, "docs"), Arrival(1, 50, 100, "docs")]
    load = merge(found, limits=Limits(prompt_tokens=8000, total_tokens=8050))
    assert [one.prompt_tokens for one in load.arrivals] == [7950, 50]
    assert (load.clamped, load.dropped) == (1, 0)


def test_a_prompt_too_long_is_dropped_and_counted_when_asked() -> None:
    found = [Arrival(0, 9000, 100, "docs"), Arrival(1, 50, 100, "docs")]
    load = merge(found, limits=Limits(prompt_tokens=8000), oversize=Oversize.DROP)
    assert [one.prompt_tokens for one in load.arrivals] == [50]
    assert (load.clamped, load.dropped) == (0, 1)


def test_an_answer_longer_than_the_unit_leaves_no_prompt_to_clamp_to() -> None:
    load = merge([Arrival(0, 10, 9000, "docs")], limits=Limits(total_tokens=8000))
    assert load.dropped == 1


def test_the_digest_tells_loads_apart() -> None:
    rows = lumps(200)
    first, again = merge(long_ones(rows, thin=0.5)), merge(long_ones(rows, thin=0.5))
    assert first.digest() == again.digest()
    assert len(first.digest()) == 64
    assert first.digest() != merge(long_ones(rows, thin=0.5, seed=2)).digest()
    assert first.digest() != merge(long_ones(rows, thin=0.5), time_scale=2).digest()


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
