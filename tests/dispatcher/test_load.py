"""What a dispatcher reads of its unit's load from a page of vLLM's metrics."""

from pathlib import Path

from dispatcher.unit_client import reported

REAL_PAGE = Path(__file__).parents[1] / "monitor" / "vllm-0.32.metrics.txt"


def test_the_load_of_a_real_server_is_read() -> None:
    idle = 'vllm:num_requests_running{engine="0",model_name="tiny-llama"} '
    busy = REAL_PAGE.read_text().replace(f"{idle}0.0", f"{idle}3.0")
    assert reported(busy) == {"running": 3.0, "waiting": 0.0, "kv_cache_usage": 0.0}


def test_the_older_name_serves_where_the_newer_is_absent() -> None:
    assert reported("vllm:gpu_cache_usage_perc 0.5") == {"kv_cache_usage": 0.5}


def test_of_several_engines_requests_add_up_and_the_fullest_cache_counts() -> None:
    counts = {"num_requests_running": (3, 4), "kv_cache_usage_perc": (0.9, 0.4)}
    page = "\n".join(
        f'vllm:{name}{{engine="{engine}"}} {value}'
        for name, values in counts.items()
        for engine, value in enumerate(values)
    )
    assert reported(page) == {"running": 7.0, "kv_cache_usage": 0.9}


def test_what_is_no_page_of_metrics_says_nothing() -> None:
    assert reported("<html>") == {}
    assert reported("vllm:num_requests_running{engine= 1") == {}
