"""Who may look at a dashboard, and who may press."""

import base64
import hashlib
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from dashboard.access import Access
from dashboard.settings import DashboardSettings

KEY = "look-at-me"
ADDRESS = "http://127.0.0.1:8080"


async def anything(_: Request) -> PlainTextResponse:
    return PlainTextResponse("seen")


def door(key: str = "", *, presses: bool = True) -> Access:
    paths = ("/", "/healthz", "/metrics", "/rq/job/job-1/delete")
    routes = [Route(path, anything, methods=["GET", "POST"]) for path in paths]
    return Access(Starlette(routes=routes), key, presses=presses)


async def ask(
    app: Access, path: str = "/", method: str = "GET", url: str = ADDRESS, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    transport: Any = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=url) as client:
        return await client.request(method, path, headers=named)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.mark.parametrize("configured", [KEY, hashlib.sha256(KEY.encode()).hexdigest()])
@pytest.mark.parametrize("authorization", [basic(KEY), f"Bearer {KEY}"])
async def test_the_key_opens(configured: str, authorization: str) -> None:
    answer = await ask(door(configured), authorization=authorization)
    assert answer.text == "seen"


@pytest.mark.parametrize(
    "authorization",
    ["", basic("wrong"), "Bearer wrong", f"Token {KEY}", "Basic ?", "Basic /w==", KEY, "Bearer"],
)
async def test_no_other_key_opens(authorization: str) -> None:
    answer = await ask(door(KEY), authorization=authorization)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
async def test_the_pages_of_a_process_are_open_as_everywhere(path: str) -> None:
    assert (await ask(door(KEY), path, url="http://dashboard:8080")).text == "seen"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "10.0.0.7"])
async def test_without_a_key_an_address_may_look(host: str) -> None:
    assert (await ask(door(), url=f"http://{host}:8080")).text == "seen"


async def test_without_a_key_a_name_that_anybody_may_rebind_may_not_look() -> None:
    assert (await ask(door(), url="http://evil.example:8080")).status_code == 403
    named = await ask(door(KEY), url="http://ops.example:8080", authorization=basic(KEY))
    assert named.text == "seen"


async def test_a_page_of_another_site_cannot_press() -> None:
    press = ("/rq/job/job-1/delete", "POST")
    for headers in ({"sec_fetch_site": "cross-site"}, {"origin": "https://evil.example"}):
        assert (await ask(door(), *press, **headers)).status_code == 403
    for headers in ({"sec_fetch_site": "same-origin"}, {"origin": ADDRESS}, {}):
        assert (await ask(door(), *press, **headers)).text == "seen"


async def test_who_may_not_press_may_still_look() -> None:
    app = door(presses=False)
    assert (await ask(app, "/rq/job/job-1/delete", "POST")).status_code == 403
    assert (await ask(app)).text == "seen"


async def test_every_answer_tells_the_browser_to_stay_here() -> None:
    for path in ("/", "/rq/job/job-1/delete"):
        for app in (door(), door(KEY)):
            policy = (await ask(app, path)).headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in (await ask(door())).headers["content-security-policy"]


@pytest.mark.parametrize(
    ("host", "near"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("::", False), ("ops", False)],
)
def test_loopback_is_known_by_its_address(host: str, *, near: bool) -> None:
    settings = DashboardSettings(_env_file=None, dashboard_host=host)
    assert settings.on_loopback == near
