"""The commands, as a user runs them, against a small server that speaks as a gateway does."""

import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from bench import play
from bench.client import ServerError
from bench.load import Load
from bench.overhead import Overhead
from bench.overhead import run as run_overhead
from bench.overhead import table as overhead_table
from bench.pairs import Pair, Timing, compared
from bench.result import ResultError, read_result, rows_of, write_result
from bench.table import print_result

Serve = Callable[[dict[str, Any]], Awaitable[str]]


class TinyGateway:
    """Answers every chat at once with as many words as asked, and keeps what it was asked."""

    def __init__(self, tokens_per_word: int = 1) -> None:
        self.prompts: list[int] = []
        self._tokens_per_word = tokens_per_word

    def routes(self) -> dict[str, Any]:
        return {
            "/v1/models": self.models,
            "/v1/chat/completions": self.chat,
            "/v1/state": self.state,
            "/metrics": self.metrics,
        }

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "tiny", "max_model_len": 10_000}]})

    async def state(self, _request: web.Request) -> web.Response:
        unit = {
            "role": "short",
            "alive": True,
            "active": {"short": 0, "long": 0},
            "limits": {"short": 8, "long": 8},
        }
        queues = {name: {"depth": 0, "oldest_s": None} for name in ("short", "long")}
        return web.json_response({"units": {"unit-1": unit}, "queues": queues})

    async def metrics(self, _request: web.Request) -> web.Response:
        served = len(self.prompts)
        return web.Response(
            text=f"# TYPE adasplit_steals_total counter\nadasplit_steals_total {served}\n"
        )

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        count = body["max_tokens"]
        self.prompts.append(len(body["messages"][0]["content"].split()))
        prompt_tokens = self.prompts[-1] * self._tokens_per_word
        if not body["stream"]:
            usage = {"prompt_tokens": prompt_tokens, "completion_tokens": count}
            return web.json_response({"id": "a", "choices": [{"message": {}}], "usage": usage})
        headers = {"x-adasplit-class": "short", "x-adasplit-unit": "unit-1"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for number in range(count):
            finish = "length" if number == count - 1 else None
            choice = {"delta": {"content": " word"}, "finish_reason": finish}
            await response.write(_line({"id": "a", "choices": [choice]}))
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": count}
        await response.write(_line({"id": "a", "choices": [], "usage": usage}))
        await response.write(b"data: [DONE]\n\n")
        return response


def _line(found: object) -> bytes:
    return b"data: " + json.dumps(found).encode() + b"\n\n"


@pytest.fixture
def mooncake(tmp_path: Path) -> Path:
    dice = random.Random(1)
    rows = [
        {"timestamp": 3000 * (n // 5), "input_length": dice.randint(1, 20_000), "output_length": 3}
        for n in range(50)
    ]
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def azure(tmp_path: Path) -> Path:
    path = tmp_path / "chats.csv"
    lines = [f"2023-11-16 18:15:{n % 30:02}.5,{n + 1},2" for n in range(30)]
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(lines) + "\n")
    return path


def played(*urls: str, sources: tuple[str, ...], **more: Any) -> play.Play:
    return play.Play(urls, Load(sources), tokens_per_word=1, **more)


async def ran(wanted: play.Play) -> dict[str, Any]:
    return (await play.run(wanted, say=lambda _text: None)).result()


async def test_a_run_sends_every_arrival_once_and_tells_what_it_did(
    serve: Serve, azure: Path, mooncake: Path, tmp_path: Path
) -> None:
    gateway = TinyGateway()
    url = await serve(gateway.routes())
    sources = (f"azure:{azure},scale=50", f"mooncake:{mooncake},scale=50,thin=0.5,min-tokens=4096")
    wanted = played(
        url,
        sources=sources,
        objectives={"short": {"ttft_s": 100.0}},
        watch=True,
        metrics=(f"{url}/metrics",),
    )
    result = await ran(wanted)
    load = result["workload"]
    assert result["outcomes"] == {"ok": load["requests"]}
    assert len(gateway.prompts) == load["requests"] > 30
    assert sum(gateway.prompts) == load["prompt_tokens"]
    assert max(gateway.prompts) <= 10_000 - 64 - 2
    assert load["clamped"] > 0
    assert result["answered_by"] == {"unit-1": load["requests"]}
    assert result["watch"]["all_zero_at_end"] is True
    assert result["watch"]["max_load"] == {"unit-1": 0}
    assert result["watch"]["timeline"][-1]["steals"] == load["requests"]
    assert result["counters"]["steals"] == load["requests"]
    assert result["classes"]["short"]["goodput"]["share"] == 1
    write_result(tmp_path / "result.json", result)
    written = read_result(tmp_path / "result.json")
    assert written["load"]["seed"] == 1
    assert written["load"]["sources"] == list(sources)
    assert written["workload"]["digest"] == load["digest"]
    assert [row.outcome for row in rows_of(written)] == ["ok"] * load["requests"]


async def test_several_urls_get_requests_in_turn(serve: Serve, azure: Path) -> None:
    units = [TinyGateway(), TinyGateway(), TinyGateway()]
    urls = [await serve(unit.routes()) for unit in units]
    result = await ran(played(*urls, sources=(f"azure:{azure},scale=100",)))
    assert [len(unit.prompts) for unit in units] == [10, 10, 10]
    assert result["outcomes"] == {"ok": 30}
    assert result["watch"] is None


async def test_a_faster_life_is_shorter_and_its_times_are_scaled_back(
    serve: Serve, azure: Path
) -> None:
    url = await serve(TinyGateway().routes())
    result = await ran(played(url, sources=(f"azure:{azure}",), speed=100))
    assert result["speed"] == 100
    assert result["workload"]["span_s"] == 29
    assert result["span_s"] >= 29
    due_s = result["rows"]["due_s"]
    sent_s = result["rows"]["sent_s"]
    assert due_s[-1] == 29.5
    assert all(sent >= due for sent, due in zip(sent_s, due_s, strict=True))


async def test_prompts_follow_the_tokenizer_that_was_measured(serve: Serve, azure: Path) -> None:
    gateway = TinyGateway(tokens_per_word=2)
    url = await serve(gateway.routes())
    wanted = play.Play((url,), Load((f"azure:{azure},scale=100,min-tokens=20",)))
    result = await ran(wanted)
    assert result["arguments"]["prompt_ratio"] == {"tokens_per_word": 2, "template_tokens": 0}
    asked, counted = result["rows"]["asked_prompt_tokens"], result["rows"]["prompt_tokens"]
    assert all(abs(one - other) <= 1 for one, other in zip(asked, counted, strict=True))


async def test_a_result_can_be_printed(
    serve: Serve, azure: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = await serve(TinyGateway().routes())
    wanted = played(
        url,
        sources=(f"azure:{azure},scale=100",),
        objectives={"short": {"ttft_s": 60.0}},
        watch=True,
    )
    result = await ran(wanted)
    result["client"]["warnings"] = ["slow"]
    print_result(Console(width=200), result)
    printed = capsys.readouterr().out
    assert "outcomes: ok 30" in printed
    assert "objectives: short: TTFT ≤ 60 s" in printed
    assert "the client was the bottleneck: slow" in printed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("{}", "is no result"),
        ('{"bench": "run", "format": 1}', "is of format 1"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(ResultError, match=said):
        read_result(tmp_path / "file.json")


async def test_overhead_asks_both_the_same_and_reports_both(serve: Serve) -> None:
    gateway, unit = TinyGateway(), TinyGateway()
    overhead = Overhead(await serve(gateway.routes()), await serve(unit.routes()), pairs=5)
    result = await run_overhead(overhead)
    assert len(gateway.prompts) == len(unit.prompts) == 2 * (5 + 20)
    assert set(result["modes"]) == {"whole", "streamed"}
    assert result["modes"]["streamed"]["ttft"]["direct_s"]["n"] == 5
    assert overhead_table(result["modes"]).row_count == 12


async def test_overhead_refuses_to_time_a_server_that_fails(serve: Serve) -> None:
    async def fail(_request: web.Request) -> web.Response:
        return web.Response(status=500, text="broken")

    unit = TinyGateway()
    failing = await serve(unit.routes() | {"/v1/chat/completions": fail})
    with pytest.raises(ServerError, match="answered 500: broken"):
        await run_overhead(Overhead(failing, await serve(unit.routes()), pairs=1))


def test_added_time_is_given_by_percentiles_and_by_pairs() -> None:
    pairs = [Pair(Timing(float(n)), Timing(n + 0.5)) for n in range(10)]
    figures = compared(pairs)["e2e"]
    assert figures["added_s"] == {"p50": 0.5, "p90": 0.5, "p99": 0.5}
    assert figures["added_paired_s"]["max"] == 0.5
    assert "ttft" not in compared(pairs)
