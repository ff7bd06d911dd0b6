"""The composed system in the hands of its users, in the order of a day: each test leaves it up."""

import asyncio
import logging
import time
from collections.abc import Iterator

import httpx
import pytest
from openai import InternalServerError, OpenAI

from tests.compose.composed import Composed, wait_for
from tests.compose.load import MODEL, TOKENS, Load

log = logging.getLogger(__name__)


@pytest.fixture
def client(composed: Composed) -> Iterator[OpenAI]:
    url = f"{composed.url}/v1"
    with OpenAI(base_url=url, api_key="none", max_retries=0, timeout=120) as one:
        yield one


def test_a_chat_is_answered_whole_and_streamed(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Tell me a story."}], max_tokens=20
    )
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell me a story."}],
        max_tokens=20,
        stream=True,
    )
    pieces = [event.choices[0].delta.content or "" for event in stream if event.choices]
    assert whole.choices[0].message.content == "".join(pieces) != ""
    assert len([piece for piece in pieces if piece]) > 10


def test_only_the_doors_are_published_and_redis_wants_its_password(composed: Composed) -> None:
    published = {}
    for container in composed.compose("ps", "--quiet").split():
        found = composed.inspect(container)
        ports = {port for port, at in found["NetworkSettings"]["Ports"].items() if at}
        if ports:
            published[found["Config"]["Labels"]["com.docker.compose.service"]] = ports
    doors = {"edge": {"8000/tcp"}, "dashboard": {"8080/tcp"}}
    services = composed.compose("config", "--services").split()
    assert published == {name: ports for name, ports in doors.items() if name in services}
    (redis,) = composed.containers("redis")
    assert "NOAUTH" in composed.docker("exec", redis, "redis-cli", "ping")


def test_all_processes_of_ours_run_without_rights(composed: Composed) -> None:
    for container in composed.compose("ps", "--quiet").split():
        found = composed.inspect(container)
        host = found["HostConfig"]
        assert host["CapDrop"] == ["ALL"], found["Name"]
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
        if found["State"]["Running"]:
            assert host["ReadonlyRootfs"], found["Name"]
            assert composed.docker("exec", container, "id", "-u").strip() != "0", found["Name"]


def test_adasplit_status_works_in_a_container_as_it_is(composed: Composed) -> None:
    said = composed.compose("exec", "-T", "gateway", "adasplit", "status")
    assert all(f"unit-{number}" in said for number in range(1, 5))


async def test_four_gateways_share_the_requests(composed: Composed) -> None:
    async with Load(composed.url) as load:
        await load.more(12)
        await asyncio.to_thread(composed.scale_gateways, 4)
        gateways = composed.containers("gateway")
        assert len(gateways) == 4
        await asyncio.to_thread(
            wait_for,
            lambda: all(composed.answered_by(gateway) >= 10 for gateway in gateways),
            "ten requests at each gateway",
        )
        log.info("answers of each gateway: %s", [composed.answered_by(one) for one in gateways])
    assert load.failed() == []


async def test_scaling_down_under_load_fails_no_request(composed: Composed) -> None:
    async with Load(composed.url) as load:
        await load.more(24)
        await asyncio.to_thread(composed.scale_gateways, 2)
        assert len(composed.containers("gateway")) == 2
        await load.more(24)
        await asyncio.to_thread(composed.scale_gateways, 1)
        await load.more(24)
    assert load.failed() == []


async def test_a_killed_gateway_takes_along_only_its_own_requests(composed: Composed) -> None:
    composed.scale_gateways(3)
    async with Load(composed.url) as load:
        gateway, *_ = composed.containers("gateway")
        await asyncio.to_thread(
            wait_for, lambda: composed.answered_by(gateway) > 10, "the gateway to be asked"
        )
        killed_s = time.monotonic()
        await asyncio.to_thread(composed.docker, "kill", gateway)
        dead_s = time.monotonic()
        await load.more(60)
    lost = load.failed()
    assert [one for one in lost if one.started_s > dead_s] == []
    assert len(lost) <= load.clients
    # What was lost is the pool's burden for no longer than it takes to miss a heartbeat.
    wait_for(composed.at_rest, "nothing left of the killed gateway's jobs")
    assert all(one.started_s > killed_s - 60 for one in lost)


async def test_a_killed_dispatcher_fails_no_request_that_is_not_streamed(
    composed: Composed,
) -> None:
    composed.scale_gateways(2)
    crashed, killed = (composed.containers(f"dispatcher-{number}")[0] for number in (1, 2))
    async with Load(composed.url) as load:
        await load.more(24)
        await asyncio.to_thread(composed.crash, crashed)
        await asyncio.to_thread(
            wait_for,
            lambda: composed.inspect(crashed)["RestartCount"] > 0 and composed.live_units() == 4,
            "the engine to start the dispatcher again",
        )
        await load.more(24)
        await asyncio.to_thread(composed.docker, "kill", killed)
        await asyncio.to_thread(
            wait_for, lambda: composed.live_units() == 3, "the pool to miss a unit"
        )
        await load.more(60)
    lost = load.failed()
    assert [one for one in lost if one.way == "whole"] == []
    # A stream that had begun at one of the two units.
    assert len(lost) <= 2 * load.clients // 2
    wait_for(composed.at_rest, "nothing in flight")
    composed.compose("up", "-d", "--no-recreate", "--scale", "gateway=2")
    wait_for(lambda: composed.live_units() == 4, "the killed dispatcher back")


async def test_redis_is_killed_and_comes_back_with_everything(composed: Composed) -> None:
    (redis,) = composed.containers("redis")
    async with Load(composed.url) as load:
        await load.more(24)
        await asyncio.to_thread(composed.docker, "restart", redis)
        await load.more(24)
    refused = [one for one in load.failed() if "redis_unavailable" not in one.outcome]
    assert [one for one in refused if "no_gateway" not in one.outcome] == []
    wait_for(composed.at_rest, "nothing in flight")


def test_without_a_gateway_the_edge_refuses_in_openais_form(
    composed: Composed, client: OpenAI
) -> None:
    composed.scale_gateways(0)
    with pytest.raises(InternalServerError) as refused:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
    assert (refused.value.status_code, refused.value.code) == (503, "no_gateway")
    assert refused.value.response.headers["retry-after"] == "2"
    composed.scale_gateways(2)
    composed.wait_ready()


def test_a_stop_in_order_ends_every_process_with_status_0(composed: Composed) -> None:
    names = [f"dispatcher-{number}" for number in range(1, 5)]
    containers = {
        name: composed.containers(name) for name in ("edge", "gateway", "scaler", "redis", *names)
    }
    with httpx.stream(
        "POST",
        f"{composed.url}/v1/completions",
        json={"model": MODEL, "prompt": "word", "max_tokens": TOKENS * 5, "stream": True},
        timeout=120,
    ) as answer:
        text = answer.iter_text()
        first = next(text)
        composed.compose("stop")
        assert (first + "".join(text)).endswith("data: [DONE]\n\n")
    codes = {
        name: [composed.inspect(one)["State"]["ExitCode"] for one in ones]
        for name, ones in containers.items()
    }
    assert {name: code for name, code in codes.items() if set(code) != {0}} == {}
