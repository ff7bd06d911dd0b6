"""Listening and serving inside a process that has other duties."""

import asyncio
import contextlib
import socket

import httpx
import pytest

from common.server import PortTaken, Server, admin_app, listen


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def test_a_port_that_is_in_use_is_refused_by_name() -> None:
    with listen("127.0.0.1", 0) as first:
        port = port_of(first)
        with pytest.raises(PortTaken, match=rf"cannot listen on 127\.0\.0\.1:{port}: "):
            listen("127.0.0.1", port)
        with pytest.raises(PortTaken):
            listen("127.0.0.1", port, shared=True)


def test_a_port_can_be_listened_on_again_at_once() -> None:
    with listen("127.0.0.1", 0) as first:
        port = port_of(first)
        first.settimeout(20)
        # The side that closes first leaves the port in TIME_WAIT.
        with socket.create_connection(("127.0.0.1", port)):
            first.accept()[0].close()
    with listen("127.0.0.1", port) as again:
        assert port_of(again) == port


def test_processes_of_one_kind_may_share_a_port() -> None:
    with listen("127.0.0.1", 0, shared=True) as first:
        with listen("127.0.0.1", port_of(first), shared=True) as second:
            assert port_of(first) == port_of(second)
        with pytest.raises(PortTaken):
            listen("127.0.0.1", port_of(first))


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(PortTaken, match=r"cannot listen on 192\.0\.2\.1:0"):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_a_process_serves_its_pages_until_it_is_told_to_stop(
    *, ready: bool, status: int
) -> None:
    stop = asyncio.Event()
    with listen("127.0.0.1", 0) as listener:
        base = f"http://127.0.0.1:{port_of(listener)}"
        app = admin_app(lambda: ready, {"/v1/state": lambda: {"pool": "p"}})
        serving = asyncio.create_task(Server(app, listener).serve_until(stop))
        async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            assert (await client.get("/readyz")).status_code == status
            assert "adasplit_redis_outages_total" in (await client.get("/metrics")).text
            assert (await client.get("/v1/state")).json() == {"pool": "p"}
        stop.set()
        async with asyncio.timeout(20):
            await serving
    with contextlib.closing(socket.socket()) as probe:
        assert probe.connect_ex(("127.0.0.1", int(base.rpartition(":")[2]))) != 0
