"""`make screenshots`: the pictures in docs/img, taken of a real run under a mixed load."""

import asyncio
import random
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.cli.conftest import Up, end, start_up
from tests.dashboard.conftest import Browser, chromium

RUN_S = 130.0
"""Longer than the charts go back, which is shortened to two minutes here."""

CHATS_PER_S = 9.0
WAVE_DEPTH = 8
WAVES = ((20.0, 0.8), (22.0, 4.5), (26.0, 0.3))
"""Seconds, and long documents per second in them, over and over."""


async def _ask(client: httpx.AsyncClient, words: int) -> None:
    body = {
        "model": "simulated-llama-3-70b",
        "stream": True,
        "max_tokens": random.randrange(60, 300),
        "messages": [{"role": "user", "content": "word " * words}],
    }
    with suppress(httpx.HTTPError):
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for _ in answer.aiter_bytes():
                pass


async def _chats(client: httpx.AsyncClient, asks: asyncio.TaskGroup) -> None:
    while True:
        await asyncio.sleep(random.expovariate(CHATS_PER_S))  # the arrivals of an open load
        asks.create_task(_ask(client, random.randrange(20, 900)))


async def _documents(client: httpx.AsyncClient, asks: asyncio.TaskGroup) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        for span_s, per_s in WAVES:
            until_s = clock() + span_s
            while clock() < until_s:
                await asyncio.sleep(random.expovariate(per_s))  # as above
                asks.create_task(_ask(client, random.randrange(5000, 24_000)))


async def _load(url: str) -> None:
    limits = httpx.Limits(max_connections=500)
    async with (
        httpx.AsyncClient(base_url=url, timeout=600, limits=limits, trust_env=False) as client,
        asyncio.TaskGroup() as asks,
    ):
        asks.create_task(_chats(client, asks))
        asks.create_task(_documents(client, asks))


@contextmanager
def _a_run() -> Iterator[Up]:
    with tempfile.TemporaryDirectory() as folder:
        up = start_up(Path(folder), "--speed", "4", ADASPLIT_DASHBOARD_HISTORY_S="120")
        try:
            up.wait_ready()
            threading.Thread(target=asyncio.run, args=[_load(up.url)], daemon=True).start()
            yield up
        finally:
            end(up)


def _take(browser: Browser, url: str, path: Path, size: tuple[int, int], scheme: str) -> None:
    browser.open(url, *size, scheme)
    browser.wait(lambda: browser.text("#state").startswith("live"), "live")
    # In the middle of a wave there is more to see.
    browser.wait(lambda: int(browser.text("#long .first dd")) > WAVE_DEPTH, "a wave", RUN_S)
    browser.driver.save_screenshot(str(path))


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    with _a_run() as up, chromium(folder.resolve() / ".profile") as driver:
        threading.Event().wait(RUN_S)
        browser, url = Browser(driver), up.dashboard_url
        _take(browser, url, folder / "dashboard-light.png", (1280, 960), "light")
        _take(browser, url, folder / "dashboard-dark.png", (1280, 960), "dark")
        _take(browser, url, folder / "dashboard-phone.png", (390, 844), "light")
        browser.open(f"{url}/rq/", 1240, 540)
        browser.wait(lambda: browser.text("#queues tbody").count("\n") >= 1, "the queues")
        driver.save_screenshot(str(folder / "rq-dashboard.png"))


if __name__ == "__main__":
    main()
