"""Names, types and labels of /metrics, as V1 of vLLM has them."""

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.simulator.conftest import MODEL, RunningUnit, StartUnit

# Written down from vLLM's documentation and source, on purpose not read from the simulator.
EXPECTED = {
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:num_requests_waiting_by_reason": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
    "vllm:cache_config_info": "gauge",
    "vllm:prompt_tokens": "counter",
    "vllm:generation_tokens": "counter",
    "vllm:num_preemptions": "counter",
    "vllm:prefix_cache_queries": "counter",
    "vllm:prefix_cache_hits": "counter",
    "vllm:request_success": "counter",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:inter_token_latency_seconds": "histogram",
    "vllm:request_time_per_output_token_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_queue_time_seconds": "histogram",
    "vllm:request_inference_time_seconds": "histogram",
    "vllm:request_prefill_time_seconds": "histogram",
    "vllm:request_decode_time_seconds": "histogram",
    "vllm:iteration_tokens_total": "histogram",
    "vllm:request_prompt_tokens": "histogram",
    "vllm:request_generation_tokens": "histogram",
    "vllm:request_max_num_generation_tokens": "histogram",
    "vllm:request_prefill_kv_computed_tokens": "histogram",
    "vllm:request_params_n": "histogram",
    "vllm:request_params_max_tokens": "histogram",
}


@pytest.fixture(scope="module")
def measured(start_unit: StartUnit) -> RunningUnit:
    """A unit that only this module asks, so that its counts are exact."""
    return start_unit("--speed", "10")


async def test_names_types_and_labels_are_vllms(measured: RunningUnit) -> None:
    text = (await measured.get("/metrics")).text
    families = {one.name: one for one in text_string_to_metric_families(text)}
    assert {name: families[name].type for name in EXPECTED} == EXPECTED
    for name in EXPECTED.keys() - {"vllm:cache_config_info"}:
        for sample in families[name].samples:
            assert sample.labels.items() >= {"model_name": MODEL, "engine": "0"}.items()


async def test_counts_and_times_are_those_of_the_requests(measured: RunningUnit) -> None:
    body = {"prompt": "w " * 1000, "max_tokens": 11, "ignore_eos": True}
    asked_s = time.monotonic()
    answer = await measured.post("/v1/completions", body)
    took_s = time.monotonic() - asked_s
    assert answer.status_code == 200
    assert await measured.metric("vllm:prompt_tokens_total") == 1000
    assert await measured.metric("vllm:generation_tokens_total") == 11
    assert await measured.metric("vllm:inter_token_latency_seconds_count") == 10
    assert await measured.metric("vllm:request_success_total", finished_reason="length") == 1
    assert await measured.metric("vllm:request_success_total") == 1
    assert await measured.metric("vllm:iteration_tokens_total_count") == 11
    assert await measured.metric("vllm:iteration_tokens_total_sum") == 1000 + 11
    ttft_s = await measured.metric("vllm:time_to_first_token_seconds_sum")
    e2e_s = await measured.metric("vllm:e2e_request_latency_seconds_sum")
    # A tenth of what the calibration says of 1,000 tokens, for the clock runs ten times faster.
    assert ttft_s > 0.010
    # Within what the client waited: these are real seconds, not those of the faster clock.
    assert ttft_s + 10 * 0.002 < e2e_s < took_s + 0.01
