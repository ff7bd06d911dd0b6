"""The /metrics of vLLM's V1 engine: its names, types, labels and buckets, in real seconds."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from simulator.engine import BLOCK_TOKENS, Engine, Sequence, Step

FINISHED_REASONS = ("stop", "length", "abort", "error", "repetition")

_TTFT_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
_TOKEN_S = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
)  # fmt: skip
_REQUEST_S = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
_STEP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


def decade_buckets(longest: int) -> list[int]:
    """1, 2, 5, 10, 20, 50 and so on, up to `longest`."""
    return list(_decades(longest))


def _decades(longest: int) -> Iterator[int]:
    scale = 1
    while True:
        for mantissa in (1, 2, 5):
            if mantissa * scale > longest:
                return
            yield mantissa * scale
        scale *= 10


class Metrics:
    """One registry per server; `speed` turns the engine's seconds into those a client measures."""

    def __init__(self, model: str, engine: Engine, max_model_len: int, speed: float) -> None:
        self._registry = CollectorRegistry()
        self._labels = {"model_name": model, "engine": "0"}
        self._speed = speed
        self._gauges(engine)
        self._counters()
        self._lengths(decade_buckets(max_model_len))
        self._durations()

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def received(self, n: int, limit: int | None) -> None:
        self._n.observe(n)
        if limit is not None:
            self._max_tokens.observe(limit)

    def stepped(self, step: Step, emitted: list[Sequence]) -> None:
        """One step of the engine ended and `emitted` got a token each."""
        if step.preempted:
            self._preempted.inc(step.preempted)
        self._step_tokens.observe(step.load.prefill_tokens + len(emitted))
        self._generated.inc(len(emitted))
        for sequence in emitted:
            if sequence.generated_tokens > 1:
                self._gap.observe(sequence.gap_s / self._speed)
            else:
                self._prompt.inc(sequence.prompt_tokens)
                self._prefix_queries.inc(sequence.prompt_tokens)
                ttft_s = sequence.first_token_s - sequence.arrived_s
                self._ttft.observe(ttft_s / self._speed)

    def ended(self, sequence: Sequence, reason: str, now_s: float) -> None:
        """A sequence finished; one that was aborted does not get here."""
        self._success[reason].inc()
        self._prompt_length.observe(sequence.prompt_tokens)
        self._output_length.observe(sequence.generated_tokens)
        self._longest_output.observe(sequence.generated_tokens)
        self._e2e.observe((now_s - sequence.arrived_s) / self._speed)
        decode_s = sequence.last_token_s - sequence.first_token_s
        prefill_s = sequence.first_token_s - sequence.scheduled_s
        self._queue.observe((sequence.scheduled_s - sequence.arrived_s) / self._speed)
        self._prefill.observe(prefill_s / self._speed)
        self._decode.observe(decode_s / self._speed)
        self._inference.observe((prefill_s + decode_s) / self._speed)
        self._prefill_computed.observe(sequence.prompt_tokens)
        if sequence.generated_tokens > 1:
            self._tpot.observe(decode_s / (sequence.generated_tokens - 1) / self._speed)

    def _gauges(self, engine: Engine) -> None:
        running = self._gauge("num_requests_running", "Number of requests in execution batches.")
        running.labels(**self._labels).set_function(lambda: len(engine.running))
        waiting = self._gauge("num_requests_waiting", "Number of requests waiting.")
        waiting.labels(**self._labels).set_function(lambda: len(engine.waiting))
        reasons = self._gauge("num_requests_waiting_by_reason", "Waiting, by reason.", "reason")
        capacity = reasons.labels(**self._labels, reason="capacity")
        capacity.set_function(lambda: len(engine.waiting))
        reasons.labels(**self._labels, reason="deferred").set(0)
        usage = self._gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.")
        usage.labels(**self._labels).set_function(lambda: engine.kv_usage)
        blocks = {"block_size": str(BLOCK_TOKENS), "num_gpu_blocks": str(engine.limits.blocks)}
        Gauge(
            "vllm:cache_config_info", "Information of the LLMEngine CacheConfig",
            ["engine", *blocks], registry=self._registry,
        ).labels(engine="0", **blocks).set(1)  # fmt: skip

    def _counters(self) -> None:
        self._prompt = self._counter("prompt_tokens", "Number of prefill tokens processed.")
        self._generated = self._counter("generation_tokens", "Number of generated tokens.")
        self._prefix_queries = self._counter(
            "prefix_cache_queries", "Prefix cache queries, tokens."
        )
        self._counter("prefix_cache_hits", "Prefix cache hits, tokens.")
        self._preempted = self._counter("num_preemptions", "Number of preemptions by the engine.")
        success = Counter(
            "vllm:request_success", "Count of successfully processed requests.",
            [*self._labels, "finished_reason"], registry=self._registry,
        )  # fmt: skip
        self._success = {
            reason: success.labels(**self._labels, finished_reason=reason)
            for reason in FINISHED_REASONS
        }

    def _lengths(self, buckets: list[int]) -> None:
        make = self._histogram
        self._step_tokens = make("iteration_tokens_total", "Tokens per engine step.", _STEP_TOKENS)
        self._prompt_length = make("request_prompt_tokens", "Prefill tokens per request.", buckets)
        self._output_length = make("request_generation_tokens", "Tokens generated.", buckets)
        self._longest_output = make(
            "request_max_num_generation_tokens", "Maximum number of requested tokens.", buckets
        )
        self._prefill_computed = make(
            "request_prefill_kv_computed_tokens", "New KV tokens computed during prefill.", buckets
        )
        self._n = make("request_params_n", "The n request parameter.", (1, 2, 5, 10, 20))
        self._max_tokens = make("request_params_max_tokens", "The max_tokens parameter.", buckets)

    def _durations(self) -> None:
        make = self._histogram
        self._ttft = make("time_to_first_token_seconds", "Time to first token.", _TTFT_S)
        self._gap = make("inter_token_latency_seconds", "Inter-token latency.", _TOKEN_S)
        self._tpot = make("request_time_per_output_token_seconds", "Time per token.", _TOKEN_S)
        self._e2e = make("e2e_request_latency_seconds", "End to end latency.", _REQUEST_S)
        self._queue = make("request_queue_time_seconds", "Time in WAITING phase.", _REQUEST_S)
        self._inference = make("request_inference_time_seconds", "RUNNING phase.", _REQUEST_S)
        self._prefill = make("request_prefill_time_seconds", "PREFILL phase.", _REQUEST_S)
        self._decode = make("request_decode_time_seconds", "DECODE phase.", _REQUEST_S)

    def _gauge(self, name: str, documentation: str, *more: str) -> Gauge:
        labels = [*self._labels, *more]
        return Gauge(f"vllm:{name}", documentation, labels, registry=self._registry)

    def _counter(self, name: str, documentation: str) -> Counter:
        return Counter(
            f"vllm:{name}", documentation, list(self._labels), registry=self._registry
        ).labels(**self._labels)

    def _histogram(self, name: str, documentation: str, buckets: Any) -> Histogram:
        return Histogram(
            f"vllm:{name}", documentation, list(self._labels),
            registry=self._registry, buckets=buckets,
        ).labels(**self._labels)  # fmt: skip
