"""A whole system with a dashboard, and a browser that looks at it."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.cli.conftest import Up, end, start_up

LIMIT_S = 40.0
UNITS = 3


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    one = start_up(tmp_path_factory.mktemp("system"), "--units", str(UNITS))
    try:
        one.wait_ready()
        yield one
    finally:
        end(one)


def redis_url_of(system: Up) -> str:
    note = next(Path(system.environment["XDG_RUNTIME_DIR"]).rglob("up.json"))
    return str(json.loads(note.read_text())["redis_url"])


@pytest.fixture(scope="module")
def redis_url(system: Up) -> str:
    return redis_url_of(system)


class Browser:
    """Headless Chromium, and the few questions that the tests ask of a page."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str, width: int = 1280, height: int = 800, scheme: str = "light") -> None:
        shape = {
            "width": width,
            "height": height,
            "deviceScaleFactor": 2 if width < 600 else 1,
            "mobile": width < 600,
        }
        self.command("Emulation.setDeviceMetricsOverride", shape)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", {"features": [feature]})
        self.driver.get(url)

    def command(self, name: str, arguments: dict[str, Any]) -> None:
        self.driver.execute_cdp_cmd(name, arguments)  # type: ignore[no-untyped-call]  # selenium's

    def text(self, selector: str) -> str:
        """The text of all that the selector finds."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText).join('\\n')"
        )
        return str(self.run(script, selector))

    def run(self, script: str, *arguments: str) -> Any:
        return self.driver.execute_script(script, *arguments)  # type: ignore[no-untyped-call]  # same

    def wait(self, fact: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> None:
        end_s = time.monotonic() + limit_s
        while not fact():
            if time.monotonic() > end_s:
                raise TimeoutError(f"{what}: not within {limit_s} s; {self.text('body')}")
            time.sleep(0.1)  # between two looks

    @property
    def complaints(self) -> list[str]:
        """What the browser has logged: refused loads, errors of scripts."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """A headless browser of Debian's packages. Raises FileNotFoundError without them."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (binary and driver):
        raise FileNotFoundError("no browser: apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = binary
    for flag in ("headless=new", "no-sandbox", "disable-gpu", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    one = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield one
    finally:
        one.quit()
        shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    try:
        with chromium(tmp_path_factory.mktemp("chromium")) as one:
            yield one
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def browser(driver: webdriver.Chrome) -> Iterator[Browser]:
    yield Browser(driver)
    driver.get("about:blank")
