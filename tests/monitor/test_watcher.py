"""Which units are looked at, and what is said of those that do not answer."""

from collections.abc import Callable

import httpx
import pytest

import monitor.watcher as watcher_module
from monitor.table import state
from monitor.watcher import Watcher
from tests.monitor.conftest import World, page, state_of

Watch = Callable[..., Watcher]


async def test_the_units_of_the_state_are_looked_at(world: World, watch: Watch) -> None:
    world.state = state_of("unit-1", "unit-2")
    world.pages = {"unit-1": page(running=2), "unit-2": page(running=5)}
    snapshot = await watch().snapshot()
    assert [(one.name, one.state, one.unit.running) for one in snapshot.units] == [
        ("unit-1", "ok", 2.0),
        ("unit-2", "ok", 5.0),
    ]
    assert snapshot.units[0].pool.active_short == 1
    assert [(one.name, one.depth, one.oldest_s) for one in snapshot.queues] == [
        ("short", 0, None),
        ("long", 3, 1.5),
    ]


async def test_a_url_that_is_given_comes_before_that_of_the_state(
    world: World, watch: Watch
) -> None:
    world.state = state_of("unit-1")
    world.pages = {"unit-1": page(running=1), "elsewhere": page(running=9)}
    snapshot = await watch(**{"unit-1": "http://elsewhere"}).snapshot()
    assert [(one.unit.running, one.pool.role) for one in snapshot.units] == [(9.0, "short")]


async def test_without_a_state_the_given_units_are_looked_at_and_the_rest_is_unknown(
    world: World, watch: Watch
) -> None:
    world.is_unknown()
    world.pages = {"here": page(running=3)}
    snapshot = await watch(mine="http://here").snapshot()
    assert snapshot.no_state == "no gateway here"
    assert [one.depth for one in snapshot.queues] == [None, None]
    (unit,) = snapshot.units
    assert (unit.state, unit.unit.running, unit.pool.role, unit.pool.active_short) == (
        *("ok", 3.0),
        *(None, None),
    )


async def test_units_stay_known_while_the_state_is_not(world: World, watch: Watch) -> None:
    world.state, world.pages = state_of("unit-1"), {"unit-1": page()}
    watcher = watch()
    await watcher.snapshot()
    world.is_unknown()
    (unit,) = (await watcher.snapshot()).units
    assert (unit.state, unit.pool.role) == ("ok", None)


async def test_a_unit_that_left_the_pool_is_dead_and_looked_at_further(
    world: World, watch: Watch
) -> None:
    world.state, world.pages = state_of("unit-1"), {"unit-1": page(running=1)}
    watcher = watch()
    await watcher.snapshot()
    world.state = state_of()
    (unit,) = (await watcher.snapshot()).units
    assert (unit.state, unit.pool.role, unit.unit.running) == ("dead", None, 1.0)
    world.pages["unit-1"] = httpx.ConnectError("refused")
    (unit,) = (await watcher.snapshot()).units
    assert state(unit) == "dead 0s"
    world.state, world.pages = state_of("unit-1"), {"unit-1": page()}
    assert (await watcher.snapshot()).units[0].state == "ok"


async def test_a_unit_that_left_and_is_silent_for_long_is_forgotten(
    world: World, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.state, world.pages = state_of("unit-1", "unit-2"), {"unit-1": page(), "unit-2": page()}
    watcher = watch()
    await watcher.snapshot()
    world.state, world.pages["unit-1"] = state_of("unit-2"), 503
    monkeypatch.setattr(watcher_module, "_FORGOTTEN_AFTER_S", -1.0)
    for _ in range(2):
        assert [unit.name for unit in (await watcher.snapshot()).units] == ["unit-2"]


@pytest.mark.parametrize(
    "silence",
    [httpx.ReadTimeout("too slow"), httpx.ConnectError("refused"), 503, "<html>not me</html>"],
    ids=["hangs", "refuses", "is unwell", "is another"],
)
async def test_a_unit_that_stops_answering_is_stale_and_all_it_said_is_unknown(
    world: World, watch: Watch, silence: str | int | Exception
) -> None:
    world.state, world.pages = state_of("unit-1"), {"unit-1": page(running=2, generated=10)}
    watcher = watch()
    await watcher.snapshot()
    world.pages["unit-1"] = silence
    snapshot = await watcher.snapshot()
    (unit,) = snapshot.units
    assert unit.state == "stale"
    assert unit.unit.age_s is not None
    assert unit.reason
    row = list(snapshot.rows())[-1]
    told = {"running", "waiting", "kv_cache_usage", "generation_tokens_total"}
    told |= {"generation_tokens_per_s", "ttft_p50_s"}
    assert {row[name] for name in told} == {None}


async def test_a_unit_that_never_answered_is_silent_without_an_age(
    world: World, watch: Watch
) -> None:
    world.is_unknown()
    world.pages = {"here": httpx.ConnectError("refused")}
    (unit,) = (await watch(mine="http://here").snapshot()).units
    assert (unit.state, unit.unit.age_s) == ("silent", None)


@pytest.mark.parametrize(
    ("said", "state"), [({"alive": False}, "dead"), ({"draining": True}, "draining")]
)
async def test_what_adasplit_says_of_a_unit_that_answers_is_its_state(
    world: World, watch: Watch, said: dict[str, bool], state: str
) -> None:
    world.state, world.pages = state_of("unit-1", **said), {"unit-1": page()}
    assert (await watch().snapshot()).units[0].state == state


async def test_a_state_of_another_shape_is_unknown(world: World, watch: Watch) -> None:
    world.state = {"units": ["unit-1"]}
    assert "not understood" in (await watch().snapshot()).no_state
