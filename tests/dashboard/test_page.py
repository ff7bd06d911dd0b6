"""The live page as a browser shows it, beside real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests.cli.conftest import Up, run_cli
from tests.conftest import DIES_WITH_ITS_PARENT, free_ports
from tests.dashboard.conftest import UNITS, Browser

P = "adasplit:{default}"
CONTRAST = Path(__file__).with_name("contrast.js")


@pytest.fixture
def page(system: Up, browser: Browser) -> Browser:
    browser.open(system.dashboard_url)
    browser.wait(lambda: browser.text("#state").startswith("live"), "live")
    return browser


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def card(name: str) -> str:
    return f'[data-unit="{name}"]'


@contextmanager
def an_answer(system: Up, words: int, tokens: int) -> Iterator[httpx.Response]:
    """A stream that goes on for so many tokens, or until the test lets go of it."""
    body = {
        "model": "simulated-llama-3-70b",
        "stream": True,
        "max_tokens": tokens,
        "min_tokens": tokens,
        "messages": [{"role": "user", "content": "word " * words}],
    }
    with (
        httpx.Client(timeout=60, trust_env=False) as client,
        client.stream("POST", f"{system.url}/v1/chat/completions", json=body) as answer,
    ):
        yield answer


def test_units_are_shown_with_role_and_slots(page: Browser) -> None:
    page.wait(lambda: page.text("#units .badge").split().count("Long") == 1, "one Long unit")
    assert page.text("#units .badge").split().count("Short") == UNITS - 1
    assert page.run("return document.querySelectorAll('#units .slots i').length") == 8 * UNITS
    assert page.text("#units-count") == f"{UNITS - 1} Short · 1 Long"


@pytest.mark.parametrize(("words", "job_class"), [(50, "short"), (8000, "long")])
def test_a_held_job_is_shown_at_its_unit_for_as_long_as_it_is_held(
    system: Up, page: Browser, words: int, job_class: str
) -> None:
    with an_answer(system, words, tokens=20_000) as answer:
        unit, job = answer.headers["x-adasplit-unit"], answer.headers["x-adasplit-job"]
        shown = f'{card(unit)} .jobs li[title^="{job}: {job_class}, "]'
        page.wait(lambda: page.text(shown), "the job")
        page.wait(lambda: float(page.text(f"{shown} .held").split()[0]) >= 2, "held for 2 s")
        assert page.run(
            f"return document.querySelectorAll('{card(unit)} .slots i.{job_class}').length"
        )
    page.wait(lambda: not page.text(shown), "gone")


def test_a_flip_is_told_and_seen(page: Browser, redis: Redis) -> None:
    before = page.text("#feed").count("became Long")
    redis.hset(f"{P}:policy", "qhap_min_long", "2")
    page.wait(lambda: page.text("#feed").count("became Long") == before + 1, "the flip")
    assert "1 Long units are too few" in page.text("#feed li:first-child")
    page.wait(lambda: page.text("#units-count") == "1 Short · 2 Long", "two Long units")
    redis.hdel(f"{P}:policy", "qhap_min_long")
    page.wait(lambda: page.text("#units-count") == f"{UNITS - 1} Short · 1 Long", "back")


def test_a_unit_whose_dispatcher_is_killed_becomes_dead(
    system: Up, page: Browser, redis: Redis, redis_url: str
) -> None:
    command = [sys.executable, "-m", "dispatcher", "--unit", "unit-x"]
    command += ["--url", f"http://127.0.0.1:{system.port + 1}", "--port", str(free_ports(1)[0])]
    dispatcher = subprocess.Popen(
        [sys.executable, "-c", DIES_WITH_ITS_PARENT, *command],
        env=os.environ | {"ADASPLIT_REDIS_URL": redis_url},
        cwd=system.environment["TMPDIR"],
        stderr=subprocess.DEVNULL,
    )
    try:
        page.wait(lambda: "unit-x" in page.text(card("unit-x")), "a fourth unit")
        assert "dead" not in page.text(card("unit-x"))
    finally:
        dispatcher.kill()
        dispatcher.wait()
    page.wait(lambda: "✕ dead" in page.text(card("unit-x")), "dead")
    assert "silent for" in page.text(card("unit-x"))
    assert page.text("#units-count").endswith("1 dead")
    redis.zrem(f"{P}:units", "unit-x")
    page.wait(lambda: not page.text(card("unit-x")), "forgotten")


def test_a_draining_unit_is_shown_as_draining(system: Up, page: Browser) -> None:
    assert run_cli(system.environment, "units", "drain", "unit-1").returncode == 0
    page.wait(lambda: "draining" in page.text(f"{card('unit-1')} .mark"), "draining")
    assert "it can be stopped" in page.text(card("unit-1"))
    assert run_cli(system.environment, "units", "resume", "unit-1").returncode == 0
    page.wait(lambda: not page.text(f"{card('unit-1')} .mark"), "resumed")


def test_what_happened_to_requests_is_told_in_numbers(system: Up, page: Browser) -> None:
    with ThreadPoolExecutor(4) as clients:
        list(clients.map(lambda _: chat(system), range(8)))
    page.wait(lambda: page.text("#short tbody").count("ms") >= 4, "percentiles")
    assert page.run("return document.querySelector('#short .line').getAttribute('d').length") > 10


def chat(system: Up) -> None:
    with an_answer(system, words=1, tokens=3) as answer:
        assert answer.status_code == 200
        answer.read()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_screen_needs_to_be_scrolled_sideways(system: Up, browser: Browser, scheme: str) -> None:
    for width in (360, 390, 768, 1280, 1920):
        browser.open(system.dashboard_url, width, 800, scheme)
        browser.wait(lambda: browser.text("#state").startswith("live"), "live")
        assert browser.run("return document.documentElement.scrollWidth") <= width
    ground = browser.run("return getComputedStyle(document.body).backgroundColor")
    bright = sum(int(part) for part in ground.strip("rgb()").split(","))
    assert (bright > 3 * 128) == (scheme == "light")


def test_the_page_loads_all_it_needs_and_nothing_from_elsewhere(page: Browser) -> None:
    page.wait(lambda: page.text("#units"), "units")
    loaded = page.run("return performance.getEntriesByType('resource').map(e => e.name)")
    origin = page.run("return location.origin")
    assert [name for name in loaded if not name.startswith(f"{origin}/")] == []
    assert page.complaints == []


def test_texts_stand_out_from_their_ground(system: Up, browser: Browser) -> None:
    for scheme in ("light", "dark"):
        browser.open(system.dashboard_url, scheme=scheme)
        browser.wait(lambda: browser.text("#units .jobs"), "units")
        weak = browser.run(CONTRAST.read_text())
        assert weak == [], scheme


def test_redis_away_is_shown_as_such_and_never_as_zeros(system: Up, page: Browser) -> None:
    held = page.text("#units-count")
    redis = system.child("valkey")
    redis.suspend()
    try:
        page.wait(lambda: "Redis has been away" in page.text("#banner"), "the banner")
        assert page.text("#state") == "Redis away"
        assert page.text("#units-count") == held
        with httpx.Client(trust_env=False) as client:
            assert client.get(f"{system.dashboard_url}/readyz").status_code == 503
            assert client.get(f"{system.dashboard_url}/healthz").status_code == 200
            points = client.get(f"{system.dashboard_url}/live.json").json()["points"]
        assert points[-1]["gap"] is True
    finally:
        redis.resume()
    page.wait(lambda: page.text("#state").startswith("live"), "live again")
    assert page.text("#banner") == ""
