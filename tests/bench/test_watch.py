"""What the watcher makes of a gateway's states, and the counters of metrics pages."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bench.client import open_session
from bench.counters import Page, Series, growth, read_page, scrape
from bench.openloop import RunClock
from bench.timeline import Snapshot, flips, max_active, max_loads, snapshot
from bench.watch import Watcher

Serve = Callable[[dict[str, Any]], Awaitable[str]]
LIMITS = {"short": 64, "long": 8}


def state(*units: tuple[str, int, int], depth: int = 0, limits: Any = None) -> dict[str, Any]:
    return {
        "pool": "default",
        "units": {
            f"unit-{number}": {
                "role": role,
                "alive": True,
                "active": {"short": short, "long": long},
                "limits": LIMITS if limits is None else limits,
            }
            for number, (role, short, long) in enumerate(units)
        },
        "queues": {"short": {"depth": depth, "oldest_s": None}, "long": {"depth": 0}},
    }


def seen(*states: dict[str, Any]) -> list[Snapshot]:
    return [snapshot(one, float(at)) for at, one in enumerate(states)]


def test_a_unit_s_load_is_weighted_by_the_limit_of_each_class() -> None:
    found = seen(state(("short", 32, 4)), state(("short", 16, 2)))
    assert max_loads(found) == {"unit-0": 1.0}
    assert max_active(found) == {"unit-0": {"short": 32, "long": 4}}


def test_a_load_above_one_shows() -> None:
    assert max_loads(seen(state(("short", 64, 1)))) == {"unit-0": 1.125}


def test_unknown_limits_make_an_unknown_load_and_not_zero() -> None:
    assert max_loads(seen(state(("short", 8, 0), limits={}))) == {"unit-0": None}


def test_flips_are_counted_by_the_role_they_led_to() -> None:
    found = seen(
        state(("short", 0, 0), ("short", 0, 0)),
        state(("long", 0, 0), ("short", 0, 0)),
        state(("short", 0, 0), ("long", 0, 0)),
    )
    assert flips(found) == {"short": 1, "long": 2}


def test_a_unit_that_was_away_flips_against_its_last_known_role() -> None:
    found = seen(state(("short", 0, 0)), state(), state(("long", 0, 0)))
    assert flips(found) == {"short": 0, "long": 1}


def test_all_zero_needs_every_count_to_be_known() -> None:
    assert seen(state(("short", 0, 0)))[0].all_zero
    assert not seen(state(("short", 0, 1)))[0].all_zero
    assert not seen(state(("short", 0, 0), depth=1))[0].all_zero
    assert not seen({"units": {"unit-0": {}}})[0].all_zero
    assert not seen({})[0].all_zero


async def test_the_watcher_settles_when_everything_is_zero(serve: Serve) -> None:
    left = iter([state(("short", 3, 0)), state(("short", 1, 0)), state(("short", 0, 0))])

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(next(left))

    url = await serve({"/v1/state": answer})
    async with open_session(timeout_s=10) as session:
        watcher = Watcher(session, url, RunClock())
        await watcher.settle(30)
    report = watcher.report()
    assert report["all_zero_at_end"] is True
    assert report["polls"] == 3
    assert report["max_active"] == {"unit-0": {"short": 3, "long": 0}}
    assert len(report["timeline"]) == 3


async def test_a_poll_that_fails_is_counted_and_the_end_stays_unknown(serve: Serve) -> None:
    polled = asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        polled.set()
        return web.Response(status=503)

    url = await serve({"/v1/state": answer})
    stop = asyncio.Event()
    async with open_session(timeout_s=10) as session:
        watcher = Watcher(session, url, RunClock())
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(watcher.run(stop))
            await polled.wait()
            stop.set()
    assert watcher.failed_polls == 1
    assert watcher.report()["all_zero_at_end"] is None


PAGE = """# HELP adasplit_flips_total Flips.
# TYPE adasplit_flips_total counter
adasplit_flips_total{{to="long"}} {long}
adasplit_flips_total{{to="short"}} {short}
# TYPE adasplit_depth gauge
adasplit_depth 4
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 9
"""


def steals(count: float) -> Page:
    name = "adasplit_steals_total"
    return Page(frozenset({name}), {Series(name, (("why", "stolen"),)): count})


def test_only_counters_of_the_project_are_read() -> None:
    page = read_page(PAGE.format(long=2, short=1))
    assert {str(series): count for series, count in page.series.items()} == {
        'adasplit_flips_total{to="long"}': 2,
        'adasplit_flips_total{to="short"}': 1,
    }


def test_growth_adds_up_pages_and_starts_anew_after_a_restart() -> None:
    found = growth({"a": steals(5), "b": steals(1)}, {"a": steals(2), "b": steals(4)})
    assert found.total("adasplit_steals_total") == 5
    assert found.by_label("adasplit_steals_total", "why") == {"stolen": 5}
    assert found.by_label("adasplit_steals_total", "class") == {"unsaid": 5}


def test_a_page_that_was_not_read_is_named_and_adds_nothing() -> None:
    found = growth({"a": None}, {"a": steals(2)})
    assert found.unread == ["a"]
    assert found.total("adasplit_steals_total") is None


def test_a_counter_that_never_counted_grew_by_nothing_and_one_that_is_not_there_is_unknown() -> (
    None
):
    page = read_page("# TYPE adasplit_steals_total counter\n")
    assert growth({"a": page}, {"a": page}).total("adasplit_steals_total") == 0
    assert growth({"a": page}, {"a": page}).total("adasplit_flips_total") is None


async def test_a_scrape_reads_every_page_and_survives_one_that_is_away(serve: Serve) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=PAGE.format(long=2, short=1))

    url = await serve({"/metrics": answer})
    async with open_session(timeout_s=10) as session:
        pages = await scrape(session, [f"{url}/metrics", f"{url}/nothing"])
    assert pages[f"{url}/nothing"] is None
    found = growth(pages | {f"{url}/metrics": read_page("")}, pages)
    assert found.by_label("adasplit_flips_total", "to") == {"long": 2, "short": 1}
