"""Reads Prometheus counters before and after a run, to say how much each grew in between."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "adasplit_"
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Series:
    """One counter with one set of labels."""

    name: str
    labels: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        inside = ",".join(f'{label}="{value}"' for label, value in self.labels)
        return f"{self.name}{{{inside}}}" if inside else self.name


@dataclass(frozen=True, slots=True)
class Page:
    """The project's counters on one page; a name without series has counted nothing yet."""

    names: frozenset[str]
    series: Mapping[Series, float]


@dataclass(frozen=True, slots=True)
class Growth:
    """How much each series grew over all pages, and the pages of which that cannot be said."""

    names: frozenset[str]
    series: Mapping[Series, float]
    unread: Sequence[str]

    def total(self, name: str) -> float | None:
        """The growth of a counter over all its labels; None when no page has it."""
        if name not in self.names:
            return None
        return sum(grown for series, grown in self.series.items() if series.name == name)

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """The growth of a counter for each value of one label."""
        found: dict[str, float] = {}
        for series, grown in self.series.items():
            if series.name == name:
                value = dict(series.labels).get(label, "unsaid")
                found[value] = found.get(value, 0.0) + grown
        return dict(sorted(found.items()))


async def scrape(session: aiohttp.ClientSession, urls: Sequence[str]) -> dict[str, Page | None]:
    """The counters of each page; None for a page that could not be read."""
    texts = await asyncio.gather(*(_text(session, url) for url in urls))
    return {
        url: None if text is None else read_page(text)
        for url, text in zip(urls, texts, strict=True)
    }


def read_page(text: str) -> Page:
    families = [
        family
        for family in text_string_to_metric_families(text)
        if family.type == "counter" and family.name.startswith(_PREFIX)
    ]
    # Beside each counter stands the time when it was made, which is no count.
    counts = [
        sample for family in families for sample in family.samples if sample.name.endswith("_total")
    ]
    return Page(
        frozenset(f"{family.name}_total" for family in families),
        {Series(one.name, tuple(sorted(one.labels.items()))): one.value for one in counts},
    )


def growth(before: Mapping[str, Page | None], after: Mapping[str, Page | None]) -> Growth:
    """What was counted between two scrapes of the same pages."""
    names: set[str] = set()
    total: dict[Series, float] = {}
    unread = []
    for url, last in after.items():
        first = before.get(url)
        if first is None or last is None:
            unread.append(url)
            continue
        names |= last.names
        for series, value in last.series.items():
            total[series] = total.get(series, 0.0) + _grown(first.series.get(series, 0.0), value)
    return Growth(frozenset(names), total, unread)


def total(pages: Iterable[Page | None], name: str) -> float | None:
    """A counter's value over all pages and labels; None when no page has it, or one is missing."""
    found = list(pages)
    known = [page for page in found if page is not None and name in page.names]
    if not known or None in found:
        return None
    return sum(
        value for page in known for series, value in page.series.items() if series.name == name
    )


def _grown(first: float, last: float) -> float:
    # A counter that fell belongs to a process that was started again, from 0.
    return last - first if last >= first else last


async def _text(session: aiohttp.ClientSession, url: str) -> str | None:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as answer:
            answer.raise_for_status()
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return None
