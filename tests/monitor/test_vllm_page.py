"""Reading `/metrics`: names new and old, several engines, and what does not stand there."""

import math

import pytest

from monitor.vllm_page import NoMetricsError, read_page
from tests.monitor.conftest import REAL_PAGE

OLD_PAGE = """\
vllm:gpu_cache_usage_perc 0.25
vllm:gpu_prefix_cache_queries_total 100.0
vllm:gpu_prefix_cache_hits_total 40.0
vllm:time_per_output_token_seconds_bucket{le="0.1"} 3.0
vllm:time_per_output_token_seconds_bucket{le="+Inf"} 4.0
"""


def test_the_page_of_a_real_server_is_read_whole() -> None:
    reading = read_page(REAL_PAGE.read_text())
    assert (reading.running, reading.waiting, reading.kv_cache_usage) == (0.0, 0.0, 0.0)
    counted = {name: count.value for name, count in reading.counts.items()}
    assert counted == {
        "prompt_tokens": 83.0,
        "generation_tokens": 7001.0,
        "requests": 2.0,
        "preemptions": 0.0,
        "prefix_queries": 83.0,
        "prefix_hits": 0.0,
        "queue_s": pytest.approx(5.69e-05, rel=0.01),
        "queued": 2.0,
    }
    assert all(count.made_s and count.made_s > 1e9 for count in reading.counts.values())
    observed = {name: one.counts[math.inf] for name, one in reading.histograms.items()}
    assert observed == {"ttft": 5.0, "tpot": 2.0, "e2e": 2.0}
    assert all(one.made_s for one in reading.histograms.values())


def test_the_names_of_older_servers_are_read_as_well() -> None:
    reading = read_page(OLD_PAGE)
    assert reading.kv_cache_usage == 0.25
    assert reading.counts["prefix_hits"].value == 40.0
    assert reading.histograms["tpot"].counts == {0.1: 3.0, math.inf: 4.0}


def test_the_newer_name_counts_where_both_stand() -> None:
    both = "vllm:gpu_cache_usage_perc 0.25\nvllm:kv_cache_usage_perc 0.5"
    assert read_page(both).kv_cache_usage == 0.5


def test_what_does_not_stand_on_the_page_is_unknown_and_not_zero() -> None:
    reading = read_page("vllm:num_requests_running 0.0")
    assert reading.running == 0.0
    assert reading.waiting is None
    assert reading.kv_cache_usage is None
    assert reading.counts == {}
    assert reading.histograms == {}


def test_a_value_that_is_no_number_is_unknown() -> None:
    assert read_page("vllm:num_requests_running NaN").running is None


def test_engines_of_one_server_count_together_and_the_fullest_cache_is_given() -> None:
    reading = read_page(
        "\n".join(
            f'{name}{{engine="{engine}"}} {value}'
            for engine, values in enumerate([(3.0, 0.2), (4.0, 0.9)])
            for name, value in zip(
                ("vllm:num_requests_running", "vllm:kv_cache_usage_perc"), values, strict=True
            )
        )
    )
    assert reading.running == 7.0
    assert reading.kv_cache_usage == 0.9


@pytest.mark.parametrize(
    "text",
    ["", "<html>Sign in</html>", "up 1.0", "vllm:num_requests_running{engine= 1"],
    ids=["empty", "html", "of another server", "broken"],
)
def test_a_page_that_is_none_of_vllm_is_refused(text: str) -> None:
    with pytest.raises(NoMetricsError):
        read_page(text)
