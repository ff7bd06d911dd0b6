"""Reads a pool's events once, in order, from a while before the first look on."""

from common.views import Views

_PAGE = 1000
_PAGES = 5
_TOO_FAR_BEHIND_MS = 5000


class Follower:
    """Where the reading of `P:events` stands."""

    def __init__(self, views: Views, span_s: float) -> None:
        self._views = views
        self._span_ms = round(span_s * 1000)
        self._after = ""
        self._caught_up = False
        self.skipped = 0
        """How often there was more than can be read between two looks."""

    async def read(self) -> list[dict[str, str]]:
        """What is new; of a flood only the first part, and then what comes after it."""
        now_ms = await self._views.now_ms()
        since = f"({self._after}" if self._after else str(now_ms - self._span_ms)
        read: list[dict[str, str]] = []
        for _ in range(_PAGES):
            page = await self._views.events(since, "+", _PAGE)
            read += page
            if page:
                self._after = page[-1]["id"]
                since = f"({self._after}"
            if len(page) < _PAGE:
                self._caught_up = True
                return read
        behind_ms = _TOO_FAR_BEHIND_MS if self._caught_up else self._span_ms
        # Ids begin with Redis's time. What a dashboard cannot follow it must not try to catch up
        # with: its cost to Redis is bounded, whatever the load.
        if int(self._after.partition("-")[0]) < now_ms - behind_ms:
            self._after = f"{now_ms}-0"
            self.skipped += 1
        return read
