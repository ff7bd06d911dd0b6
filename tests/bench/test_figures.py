"""Percentiles, and the figures of a run from its rows."""

import pytest
from rich.console import Console

from bench.figures import attempts, class_table, outcomes, per_target, summarise
from bench.lag import ClientLoad
from bench.objectives import in_words, read_objectives
from bench.rows import Order, Row, as_columns, from_columns
from bench.stats import percentile, spread
from bench.table import summary_table


def row(index: int, size_class: str = "short", outcome: str = "ok", *, ttft_s: float = 1) -> Row:
    intended_s = float(index)
    found = Row(
        Order(index, "test", size_class, "http://unit", intended_s, 10, 5),
        sent_s=intended_s + 0.5,
        first_token_s=intended_s + ttft_s,
        tpot_s=0.02,
        worst_gap_s=0.1,
        output_tokens=5,
        queue_s=0.25,
        headers={"unit": f"unit-{index % 2}", "class": size_class},
    )
    found.end(outcome, intended_s + ttft_s + 2)
    return found


@pytest.mark.parametrize(
    ("values", "rank", "expected"),
    [
        ([], 50, None),
        ([7.0], 99, 7),
        ([3.0, 1.0, 2.0], 50, 2),
        ([1.0, 2.0], 50, 1.5),
        ([float(value) for value in range(101)], 99, 99),
        ([1.0, 2.0, 3.0, 4.0], 90, 3.7),
        ([1.0, 2.0], 100, 2),
        ([1.0, 2.0], 0, 1),
    ],
)
def test_percentiles_interpolate_between_neighbours(
    values: list[float], rank: float, expected: float | None
) -> None:
    assert percentile(values, rank) == (None if expected is None else pytest.approx(expected))


def test_what_was_not_seen_is_left_out_of_a_spread_and_never_zero() -> None:
    assert spread([None, 2.0, None]) == {"n": 1, "p50": 2, "p90": 2, "p99": 2, "max": 2}
    assert spread([None])["p50"] is None


def test_times_count_from_when_a_request_was_due() -> None:
    figures = summarise([row(0)])["short"]
    assert figures["ttft_s"]["p50"] == 1
    assert figures["ttft_from_sent_s"]["p50"] == 0.5
    assert figures["e2e_s"]["p50"] == 3
    assert figures["queue_s"]["p50"] == 0.25


def test_classes_are_summed_apart_and_together() -> None:
    classes = summarise([row(0), row(1, "long", ttft_s=5), row(2)])
    assert list(classes) == ["short", "long", "all"]
    assert [classes[name]["n"] for name in classes] == [2, 1, 3]
    assert classes["long"]["ttft_s"]["p99"] == 5


def test_failed_requests_count_as_errors_and_not_in_times() -> None:
    figures = summarise([row(0), row(1, outcome="no_done", ttft_s=100)])["short"]
    assert (figures["n"], figures["ok"], figures["errors"]) == (2, 1, 1)
    assert figures["ttft_s"]["max"] == 1
    assert figures["outcomes"] == {"ok": 1, "no_done": 1}


def test_rates_divide_by_the_whole_run() -> None:
    figures = summarise([row(0), row(7)])["all"]
    assert figures["requests_per_s"] == pytest.approx(2 / 10)
    assert figures["output_tokens_per_s"] == pytest.approx(1)


def test_a_run_of_nothing_has_figures_of_nothing() -> None:
    figures = summarise([])["all"]
    assert figures["n"] == 0
    assert figures["requests_per_s"] is None
    assert figures["ttft_s"]["p50"] is None


def test_a_request_has_one_outcome_only() -> None:
    with pytest.raises(RuntimeError, match="ended as ok and timeout"):
        row(0).end("timeout", 9)


def test_outcomes_units_and_classes_are_counted() -> None:
    rows = [row(0), row(1, "long"), row(2, outcome="timeout")]
    rows[2].headers.clear()
    assert outcomes(rows) == {"ok": 2, "timeout": 1}
    assert per_target(rows) == {"http://unit": 1, "unit-0": 1, "unit-1": 1}
    assert class_table(rows) == {"long": {"long": 1}, "short": {"short": 1, "unsaid": 1}}
    assert attempts(rows) == {"unsaid": 3}


def test_rows_come_back_from_a_file_as_they_went_in() -> None:
    rows = [row(0), row(1, "long", outcome="http_429:queue_full"), row(2, ttft_s=1 / 3)]
    columns = as_columns(rows)
    assert columns["class"] == ["short", "long", "short"]
    assert columns["asked_output_tokens"] == [5, 5, 5]
    again = from_columns(columns)
    assert as_columns(again) == columns
    assert summarise(again)["short"]["n"] == 2
    assert again[1].refused


def test_a_request_is_good_when_it_meets_every_objective_of_its_class() -> None:
    wanted = read_objectives(["short:ttft=1,tpot=0.1", "long:e2e=5"])
    rows = [row(0), row(1, ttft_s=1.5), row(2, outcome="no_done"), row(3, "long", ttft_s=2)]
    classes = summarise(rows, wanted)
    assert classes["short"]["goodput"] == {"good": 1, "share": pytest.approx(1 / 3), "per_s": 1 / 7}
    assert classes["long"]["goodput"]["share"] == 1
    assert classes["all"]["goodput"]["good"] == 2


def test_a_class_without_an_objective_has_no_goodput() -> None:
    classes = summarise([row(0), row(1, "long")], read_objectives(["short:ttft=1"]))
    assert classes["long"]["goodput"] is None
    assert classes["all"]["goodput"]["share"] == 1


def test_an_answer_of_one_token_cannot_miss_a_time_per_token() -> None:
    one = row(0)
    one.tpot_s = None
    classes = summarise([one], read_objectives(["short:tpot=0.001"]))
    assert classes["short"]["goodput"]["good"] == 1


def test_refusals_are_told_from_errors() -> None:
    rows = [row(0), row(1, outcome="http_429:queue_full"), row(2, outcome="http_502:unit_failed")]
    figures = summarise(rows)["short"]
    assert (figures["ok"], figures["refused"], figures["errors"]) == (1, 1, 1)


def test_objectives_are_joined_by_class_and_can_be_read_out() -> None:
    wanted = read_objectives(["short:ttft=1", "short:tpot=0.1", "long:e2e=60"])
    assert wanted == {"short": {"ttft_s": 1.0, "tpot_s": 0.1}, "long": {"e2e_s": 60.0}}
    assert in_words(wanted) == "short: TTFT ≤ 1 s, TPOT ≤ 100 ms; long: E2E ≤ 60 s"


@pytest.mark.parametrize(
    "text", ["ttft=1", "short:", "short:speed=1", "short:ttft=0", "short:ttft"]
)
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        read_objectives([text])


def test_the_table_fits_a_narrow_terminal_and_has_a_dash_for_what_was_not_seen() -> None:
    console = Console(record=True, width=80)
    rows = [row(0), row(1, "long", outcome="timeout")]
    console.print(summary_table(summarise(rows)))
    text = console.export_text()
    ttft_line = next(line for line in text.splitlines() if "TTFT s p90" in line)
    assert "1.00 │" in ttft_line
    assert " - │" in ttft_line
    assert "…" not in text


def test_a_client_that_kept_up_warns_of_nothing() -> None:
    assert ClientLoad(0.001, 0.002, 0.003, 0.004, 0.5).warnings() == []


def test_a_client_that_did_not_keep_up_says_where() -> None:
    warnings = ClientLoad(0.1, 0.2, 0.3, 0.4, 0.99).warnings()
    assert len(warnings) == 3
    assert "p99 200 ms" in warnings[0]
