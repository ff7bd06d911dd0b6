"""Reads Prometheus counters before and after a run, to say how much each grew in between."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "adasplit_"
_TIMEOUT_S = 5.0


Page = Mapping[str, float]


async def scrape(session: aiohttp.ClientSession, urls: Sequence[str]) -> dict[str, Page | None]:
    """The project's counters on each page; None for a page that could not be read."""
    texts = await asyncio.gather(*(_text(session, url) for url in urls))
    return {
        url: None if text is None else counters(text) for url, text in zip(urls, texts, strict=True)
    }


def counters(page: str) -> dict[str, float]:
    """Every counter of ours on one page, as `name{label="value"}`."""
    return {
        _series(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(page)
        if family.type == "counter" and family.name.startswith(_PREFIX)
        for sample in family.samples
        if sample.name.endswith("_total")
    }


@dataclass(frozen=True, slots=True)
class Growth:
    """How much each series grew over all pages, and the pages of which that cannot be said."""

    by_series: Mapping[str, float]
    unread: Sequence[str]

    def of(self, name: str) -> float | None:
        """The growth of a counter over all its labels; None when no page has it."""
        found = [grown for series, grown in self.by_series.items() if series.split("{")[0] == name]
        return sum(found) if found else None


def growth(before: Mapping[str, Page | None], after: Mapping[str, Page | None]) -> Growth:
    """What was counted between two scrapes of the same pages."""
    total: Counter[str] = Counter()
    unread = []
    for url, last in after.items():
        first = before.get(url)
        if first is None or last is None:
            unread.append(url)
        else:
            total.update({series: _grown(first.get(series, 0.0), last[series]) for series in last})
    return Growth(dict(sorted(total.items())), unread)


def _grown(first: float, last: float) -> float:
    # A counter that fell belongs to a process that was started again, from 0.
    return last - first if last >= first else last


def _series(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name


async def _text(session: aiohttp.ClientSession, url: str) -> str | None:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as answer:
            answer.raise_for_status()
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return None
