"""Fetches the `/metrics` of one unit again and again, and remembers what it said."""

import time
from dataclasses import dataclass

import httpx

from monitor.history import Activity, History
from monitor.vllm_page import NoMetricsError, Reading, read_page


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a unit; `reading` is None when it did not answer now.

    `age_s`: since it last answered; None when it never has. `reason`: why it did not answer.
    """

    reading: Reading | None
    activity: Activity
    age_s: float | None
    reason: str = ""


class Scraper:
    """One unit's page, over a client that is shared."""

    def __init__(self, client: httpx.AsyncClient, url: str, window_s: float) -> None:
        self.url = url
        self._client = client
        self._history = History(window_s)

    async def look(self) -> Look:
        """Never raises for what the unit does: silence and nonsense are a look without reading."""
        try:
            answer = await self._client.get(f"{self.url}/metrics", follow_redirects=True)
            answer.raise_for_status()
            reading = read_page(answer.text)
        except (httpx.HTTPError, httpx.InvalidURL, NoMetricsError) as error:
            return Look(None, Activity(), self._age_s(), _in_words(error))
        self._history.add(time.monotonic(), reading)
        return Look(reading, self._history.activity(), 0.0)

    def _age_s(self) -> float | None:
        latest_s = self._history.latest_s
        return None if latest_s is None else time.monotonic() - latest_s


def _in_words(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code}"
    return str(error) or type(error).__name__
