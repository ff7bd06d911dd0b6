"""The pages beside the two routes: models, jobs, state, health, metrics."""

from typing import Any

import pytest

from common.keys import COST
from common.models import Lease, QueueView


async def test_the_models_are_the_union_over_live_units(bench: Any) -> None:
    await bench.store.register("unit-2", {"models": "b\na"})
    await bench.store.register("unit-3", {"models": "gone"})
    await bench.store.leave("unit-3")
    await bench.seen(lambda: bench.gateway._watcher.models == ("a", "b", "m"))
    answer = (await bench.client.get("/v1/models")).json()
    assert answer["object"] == "list"
    assert [model["id"] for model in answer["data"]] == ["a", "b", "m"]
    assert {model["object"] for model in answer["data"]} == {"model"}


async def test_a_waiting_job_tells_its_position(bench: Any) -> None:
    first = bench.post()
    ahead = await bench.waiting_job()
    second = bench.post()

    async def both() -> Any:
        return (await bench.views.pool()).queues["short"].depth == 2

    await bench.until(both)
    (behind,) = set(bench.gateway._mailboxes._open) - {ahead["id"]}
    shown = [(await bench.client.get(f"/v1/jobs/{job}")).json() for job in (ahead["id"], behind)]
    assert [job["position"] for job in shown] == [0, 1]
    assert {job["state"] for job in shown} == {"queued"}
    assert shown[0]["class"] == "short"
    assert shown[0]["attempts"] == 0
    assert shown[0]["unit"] is None
    first.cancel()
    second.cancel()


async def test_the_estimated_start_follows_the_drain(start: Any) -> None:
    # No look at the pool but the two of the start: what the queue did is told here.
    async with start(watch_s=600.0) as bench:
        drain = bench.gateway._watcher.drain("long")
        await bench.seen(lambda: drain._starts.value is not None)
        waiting = bench.post(headers={"x-adasplit-class": "long"})
        job = await bench.waiting_job()
        shown = (await bench.client.get(f"/v1/jobs/{job['id']}")).json()
        assert (shown["position"], shown["estimated_start_s"]) == (0, None)
        drain.look(QueueView(9, 1.0, 0, 0.0), QueueView(9, 1.0, 1000, 1000 * COST), 500.0)
        shown = (await bench.client.get(f"/v1/jobs/{job['id']}")).json()
        assert shown["estimated_start_s"] == pytest.approx(0.5, abs=0.01)
        waiting.cancel()


async def test_an_answer_says_what_was_estimated_and_the_metrics_how_it_came_true(
    start: Any,
) -> None:
    async with start(watch_s=600.0) as bench:
        drain, checker = bench.gateway._watcher.drain("short"), bench.gateway._checker
        await bench.seen(lambda: drain._starts.value is not None)
        drain.look(QueueView(9, 1.0, 0, 0.0), QueueView(9, 1.0, 10, 10 * COST), 1000.0)
        asked = bench.post()
        job = await bench.waiting_job()
        await checker.step()
        await checker.step()  # once is enough
        await bench.unit.answer(await bench.unit.claim(), b"{}")
        headers = (await asked).headers
        # It was told to wait for 100 s, a job's time at that drain, and went at once.
        assert int(headers["x-adasplit-estimate-ms"]) == pytest.approx(100_000, rel=0.01)
        after_ms = int(headers["x-adasplit-estimated-after-ms"])
        assert 0 <= after_ms <= int(headers["x-adasplit-queue-ms"])
        assert headers["x-adasplit-job"] == job["id"]
        page = (await bench.client.get("/metrics")).text
        pool = bench.settings.pool
        counted = f'start_estimates_total{{class="short",kind="early",pool="{pool}"}} 1.0'
        assert counted in page


async def test_what_was_not_estimated_is_not_counted(bench: Any) -> None:
    asked = bench.post()
    await bench.unit.answer(await bench.unit.claim(), b"{}")
    assert "x-adasplit-estimate-ms" not in (await asked).headers
    assert "start_estimates_total{" not in (await bench.client.get("/metrics")).text


async def test_a_waiting_job_is_found_by_the_name_that_its_client_gave_it(bench: Any) -> None:
    asked = bench.post(headers={"x-adasplit-name": "report-17"})
    job = await bench.waiting_job()

    async def named() -> Any:
        answer = await bench.client.get("/v1/jobs/report-17")
        return answer.json().get("id") == job["id"]

    await bench.until(named)
    shown = (await bench.client.get("/v1/jobs/report-17")).json()
    assert (shown["id"], shown["state"], shown["position"]) == (job["id"], "queued", 0)
    assert (await bench.client.get("/v1/jobs/report-18")).status_code == 404
    cancelled = (await bench.client.delete("/v1/jobs/report-17")).json()
    assert (cancelled["id"], cancelled["result"]) == (job["id"], "cancelled")
    assert (await asked).status_code == 499
    # A name is the client's to use again: the last job has it.
    again = bench.post(headers={"x-adasplit-name": "report-17"})
    job = await bench.waiting_job()
    await bench.until(named)
    again.cancel()


@pytest.mark.parametrize("name", ["a b", "x" * 65, "a:b", "{a}"])
async def test_a_name_that_is_none_is_refused(bench: Any, name: str) -> None:
    answer = await bench.post(headers={"x-adasplit-name": name})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-adasplit-name")


async def test_a_requeued_job_waits_before_newer_ones(bench: Any) -> None:
    asked = bench.post()
    job = await bench.unit.claim()
    lease = Lease(job.id, job.attempt, job.job_class)
    await bench.store.requeue("unit-1", lease, job.gateway, "unit refused")
    shown = (await bench.client.get(f"/v1/jobs/{job.id}")).json()
    assert (shown["state"], shown["position"], shown["attempts"]) == ("queued", 0, 1)
    asked.cancel()


async def test_a_finished_job_tells_its_outcome_and_times(bench: Any) -> None:
    asked = bench.post()
    job = await bench.unit.claim()
    running = (await bench.client.get(f"/v1/jobs/{job.id}")).json()
    assert (running["state"], running["unit"], running["position"]) == ("running", "unit-1", None)
    await bench.unit.answer(job, b"{}")
    await asked
    shown = (await bench.client.get(f"/v1/jobs/{job.id}")).json()
    assert (shown["state"], shown["outcome"], shown["attempts"]) == ("finished", "ok", 1)
    assert shown["durations_s"]["queue"] == job.queue_ms / 1000
    assert shown["times_ms"]["finished"] >= shown["times_ms"]["submitted"]


async def test_a_deleted_waiting_job_is_gone_and_its_request_ends(bench: Any) -> None:
    asked = bench.post()
    job = (await bench.waiting_job())["id"]
    answer = await bench.client.delete(f"/v1/jobs/{job}")
    assert (answer.status_code, answer.json()["result"]) == (200, "cancelled")
    response = await asked
    assert response.status_code == 499
    assert response.json()["error"]["code"] == "cancelled"
    again = await bench.client.delete(f"/v1/jobs/{job}")
    assert again.json()["result"] == "finished"
    await bench.no_leaks()


async def test_a_deleted_running_job_is_aborted_by_its_unit(bench: Any) -> None:
    asked = bench.post()
    job = await bench.unit.claim()
    answer = await bench.client.delete(f"/v1/jobs/{job.id}")
    assert answer.json()["result"] == "cancelling"
    assert await bench.cancel_wake() == (job.id, 1)
    await bench.unit.finish(job, "cancelled", reason="asked for")
    assert (await asked).status_code == 499


async def test_a_job_that_nobody_knows_is_a_404(bench: Any) -> None:
    for ask in (bench.client.get, bench.client.delete):
        response = await ask("/v1/jobs/job-unknown")
        assert response.status_code == 404
        assert response.json()["error"]["type"] == "invalid_request_error"


async def test_the_state_shows_units_queues_and_the_policy_in_force(bench: Any) -> None:
    await bench.store.register("unit-2", {"limit_short": 64, "limit_long": 8})
    await bench.override(qhap_scale_up_above="7")
    asked = bench.post()
    job = await bench.unit.claim()
    state = (await bench.client.get("/v1/state")).json()
    assert state["pool"] == bench.settings.pool
    one, two = state["units"]["unit-1"], state["units"]["unit-2"]
    assert (one["role"], one["alive"], one["draining"]) == ("short", True, False)
    assert one["active"] == {"short": 1, "long": 0}
    assert one["limits"] == {"short": 8, "long": 8}
    assert one["idle_s"] is None
    assert two["limits"] == {"short": 64, "long": 8}
    assert two["idle_s"] >= 0
    assert state["queues"]["short"] == {"depth": 0, "oldest_s": None}
    assert state["policy"]["qhap_scale_up_above"] == 7
    assert state["policy"]["long_threshold_tokens"] == 4096
    await bench.unit.answer(job, b"{}")
    await asked


async def test_a_live_limit_beats_the_one_that_a_unit_was_started_with(bench: Any) -> None:
    await bench.unit.register(limit_short=64, limit_long=8)
    await bench.override(worker_concurrency_limit_short="16")
    state = (await bench.client.get("/v1/state")).json()
    assert state["units"]["unit-1"]["limits"] == {"short": 16, "long": 8}


async def test_health_readiness_and_metrics_answer(bench: Any) -> None:
    asked = bench.post()
    await bench.unit.answer(await bench.unit.claim(), b"{}")
    await asked
    assert (await bench.client.get("/healthz")).status_code == 200
    assert (await bench.client.get("/readyz")).status_code == 200
    page = (await bench.client.get("/metrics")).text
    pool = bench.settings.pool
    counted = f'adasplit_gateway_requests_total{{class="short",code="200",pool="{pool}"}} 1.0'
    assert counted in page
    assert f'adasplit_gateway_ttft_seconds_count{{class="short",pool="{pool}"}} 1.0' in page
    assert f'adasplit_gateway_open_requests{{pool="{pool}"}} 0.0' in page


async def test_the_reply_stream_does_not_grow_with_what_was_read(bench: Any) -> None:
    for _ in range(5):
        asked = bench.post()
        await bench.unit.answer(await bench.unit.claim(), b"{}")
        await asked

    async def trimmed() -> Any:
        return await bench.reply_length() <= 1

    await bench.until(trimmed)


async def test_the_openapi_page_describes_what_is_served_and_loads_nothing(bench: Any) -> None:
    described = (await bench.client.get("/openapi.json")).json()
    assert {f"/v1/{name}" for name in ("models", "state", "jobs/{id}")} < described["paths"].keys()
    for path, operations in described["paths"].items():
        for method in operations:
            answer = await bench.client.request(method, path, content=b"")
            assert str(answer.status_code) in operations[method]["responses"], (method, path)
    page = await bench.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert all(path.replace("{id}", "") in page.text for path in described["paths"])
    assert "src=" not in page.text
    assert "://" not in page.text
