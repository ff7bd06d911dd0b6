"""One trace from the client through every process to the unit, received by a real collector."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.cli.conftest import Up, end, start_up
from tests.dispatcher.scripted import Call, ScriptedUnit, at_once
from tests.e2e.collector import Collector, Seen

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CLIENT_SPAN}-01"
KEY = "sk-the-secret-key"
CANARY = "what nobody but the unit may read"
SERVER, CLIENT = 2, 3


@dataclass
class Traced:
    """A whole system with one unit, and where its spans go."""

    up: Up
    unit: ScriptedUnit
    collector: Collector

    async def ask(self, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            return await client.post(
                f"{self.up.url}/v1/completions",
                json={"model": "scripted", "prompt": CANARY, "stream": True},
                headers={"authorization": f"Bearer {KEY}"} | headers,
            )

    async def spans(self, trace: str, count: int) -> dict[str, list[Seen]]:
        """The spans of a trace by their names, once so many have come."""
        await self.collector.until(
            lambda: sum(span.trace == trace for span in self.collector.spans) >= count
        )
        found: dict[str, list[Seen]] = {}
        for span in sorted(self.collector.spans, key=lambda span: span.begun_ns):
            if span.trace == trace:
                found.setdefault(span.name, []).append(span)
        return found


@asynccontextmanager
async def system(folder: Path, **settings: str) -> AsyncIterator[Traced]:
    unit, collector = ScriptedUnit(), Collector()
    await unit.start()
    await collector.start()
    if "ADASPLIT_TRACE_ENDPOINT" in settings:
        settings["ADASPLIT_TRACE_ENDPOINT"] = collector.url
    up = start_up(
        folder,
        *("--unit", f"unit-1={unit.url}"),
        ADASPLIT_API_KEYS=f"me:{KEY}",
        OTEL_BSP_SCHEDULE_DELAY="50",
        **settings,
    )
    try:
        await asyncio.to_thread(up.wait_ready)
        yield Traced(up, unit, collector)
    finally:
        await asyncio.to_thread(end, up)
        await unit.stop()
        await collector.stop()


def fails_first() -> Any:
    async def answer(call: Call) -> web.StreamResponse:
        if len(call.unit.calls) == 1:
            return web.Response(status=500)
        return await at_once(call)

    return answer


async def test_a_request_and_both_its_attempts_are_one_trace_of_the_clients(tmp_path: Path) -> None:
    async with system(tmp_path, ADASPLIT_TRACE_ENDPOINT="on") as traced:
        traced.unit.answer = fails_first()
        answer = await traced.ask(traceparent=TRACEPARENT, tracestate="vendor=secret")
        assert (answer.status_code, answer.headers["x-adasplit-attempt"]) == (200, "2")
        job = answer.headers["x-adasplit-job"]
        spans = await traced.spans(TRACE, 7)

        (request,) = spans["POST /v1/completions"]
        assert (request.service, request.kind) == ("adasplit-gateway", SERVER)
        assert request.parent == CLIENT_SPAN
        assert request.events == ("first byte",)
        assert not request.failed
        noted = request.attributes
        assert (noted["adasplit.job"], noted["adasplit.unit"]) == (job, "unit-1")
        assert (noted["http.response.status_code"], noted["adasplit.class"]) == (200, "short")

        attempts, queued, calls = spans["attempt"], spans["queue"], spans["unit call"]
        assert [span.parent for span in attempts + queued] == [request.id] * 4
        assert [span.attributes["adasplit.attempt"] for span in attempts] == [1, 2]
        assert [span.attributes["adasplit.outcome"] for span in attempts] == ["requeued", "ok"]
        assert [span.failed for span in attempts] == [True, False]
        assert [span.parent for span in calls] == [span.id for span in attempts]
        assert [span.attributes["http.response.status_code"] for span in calls] == [500, 200]
        assert {span.kind for span in calls} == {CLIENT}
        # The second wait began when the first attempt had failed, not with the request.
        assert queued[1].begun_ns >= attempts[0].begun_ns
        assert [span.ended_ns for span in queued] == [span.begun_ns for span in attempts]

        told = [call.request.headers["traceparent"] for call in traced.unit.calls]
        assert told == [f"00-{TRACE}-{span.id}-01" for span in calls]
        assert all("tracestate" not in call.request.headers for call in traced.unit.calls)
        for secret in (CANARY, KEY, "vendor=secret"):
            assert secret.encode() not in traced.collector.raw


async def test_without_a_collector_named_nothing_is_traced(tmp_path: Path) -> None:
    async with system(tmp_path) as traced:
        answer = await traced.ask(traceparent=TRACEPARENT)
        assert answer.status_code == 200
        (call,) = traced.unit.calls
        assert "traceparent" not in call.request.headers
        assert traced.collector.spans == []


async def test_a_refusal_is_traced_and_a_lost_collector_hurts_no_request(tmp_path: Path) -> None:
    async with system(tmp_path, ADASPLIT_TRACE_ENDPOINT="on") as traced:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            refused = await client.post(
                f"{traced.up.url}/v1/completions",
                json={"model": "scripted"},
                headers={"authorization": f"Bearer {KEY}", "traceparent": "00-nonsense"},
            )
        assert refused.status_code == 400
        await traced.collector.until(lambda: bool(traced.collector.spans))
        (span,) = traced.collector.spans
        assert (span.parent, span.attributes["http.response.status_code"]) == ("", 400)
        await traced.collector.stop()
        assert (await traced.ask()).status_code == 200


@pytest.mark.parametrize("process", ["gateway", "dispatcher", "scaler"])
async def test_a_process_that_does_not_trace_does_not_load_what_traces(process: str) -> None:
    names = ("common.tracing", "opentelemetry.sdk.trace", "opentelemetry.exporter")
    script = (
        f"import sys, {process}.__main__; "
        f"sys.exit(any(name.startswith({names}) for name in sys.modules))"
    )

    running = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await running.wait() == 0
