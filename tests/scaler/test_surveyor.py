"""The surveyor: a small pool is seen as a whole each time, a large one in parts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from common.models import Prefilling, QueueView, UnitView
from common.policy import Policy
from common.steals import Stealing
from common.survey import Survey, Surveyed
from common.tallies import Tally
from scaler.adaptive import Snapshot
from scaler.qhap import Flip
from scaler.surveyor import AT_A_LOOK, Surveyor

POLICY = Policy(policy="adaptive")


def unit(number: int) -> UnitView:
    return UnitView(f"unit-{number:04}", "short", alive=True, draining=False, short=1, long=0)


def prefill(name: str, *, long: bool = False) -> Prefilling:
    job_class, tokens = ("long", 20_000) if long else ("short", 1000)
    return Prefilling(name, cast("Any", job_class), tokens, 0, streams=True, job=name, attempt=1)


class Units:
    """The views of a pool that has so many units, each with a short job that it prefills."""

    def __init__(self, count: int) -> None:
        self.units = {each.name: each for each in map(unit, range(count))}
        self.long: set[str] = set()
        self.read: list[str] = []

    async def unit_names(self) -> list[str]:
        return sorted(self.units)

    async def survey(self, names: Sequence[str]) -> Survey:
        self.read += names
        return Survey(0, tuple(self._surveyed(name) for name in names if name in self.units))

    async def stealing(self) -> Stealing:
        return Stealing()

    def _surveyed(self, name: str) -> Surveyed:
        return Surveyed(self.units[name], 1000, (prefill(name, long=name in self.long),))

    def change(self, name: str, **fields: Any) -> None:
        self.units[name] = replace(self.units[name], **fields)


def tally(now_ms: int = 0) -> Tally:
    queues: Any = {name: QueueView(0, None, 0) for name in ("short", "long")}
    return Tally(now_ms, 0, {"short": 0, "long": 0}, (), queues, {})


def surveyor(units: Units) -> Surveyor:
    return Surveyor(cast("Any", units))


def work_s(seen: Snapshot) -> float:
    return sum(work.short_s for work in seen.work.values())


async def test_a_small_pool_is_seen_as_it_is_each_time() -> None:
    units = Units(AT_A_LOOK)
    found = surveyor(units)
    for held in (3, 5):
        units.change("unit-0007", short=held)
        seen = await found.look(tally(), POLICY)
        assert {each.name: each for each in seen.view.units} == units.units
    units.units.pop("unit-0007")
    assert len((await found.look(tally(), POLICY)).view.units) == AT_A_LOOK - 1


async def test_a_large_pool_is_read_as_a_whole_once_and_then_in_parts() -> None:
    units = Units(3 * AT_A_LOOK - 1)
    found = surveyor(units)
    seen = await found.look(tally(), POLICY)
    assert {each.name: each for each in seen.view.units} == units.units
    units.read.clear()
    for looks in (1, 2):
        await found.look(tally(), POLICY)
        assert len(units.read) == looks * AT_A_LOOK
    await found.look(tally(), POLICY)
    assert sorted(units.read) == sorted(units.units)


async def test_all_units_count_though_a_part_of_them_is_read() -> None:
    units = Units(3 * AT_A_LOOK)
    found = surveyor(units)
    each_s = POLICY.prefill_s(1000)
    for _ in range(4):
        seen = await found.look(tally(), POLICY)
        assert abs(work_s(seen) - len(units.units) * each_s) < each_s / 1000


async def test_after_a_rest_it_begins_anew() -> None:
    units = Units(2 * AT_A_LOOK)
    found = surveyor(units)
    await found.look(tally(), POLICY)
    found.rest()
    units.read.clear()
    await found.look(tally(), POLICY)
    assert sorted(units.read) == sorted(units.units)


async def test_who_has_left_a_large_pool_is_forgotten_in_the_next_round() -> None:
    units = Units(2 * AT_A_LOOK)
    found = surveyor(units)
    await found.look(tally(), POLICY)
    units.units.pop("unit-0000")
    for _ in range(2):
        seen = await found.look(tally(), POLICY)
    assert {each.name for each in seen.view.units} == set(units.units)


def fewest(seen: Snapshot) -> Flip:
    chosen = min(seen.view.units, key=lambda each: (each.in_flight, each.name))
    return Flip(chosen.name, "long", "a test")


async def known(units: Units) -> Surveyor:
    """A pool of two parts, of which the second was read last."""
    found = surveyor(units)
    for _ in range(3):
        await found.look(tally(), POLICY)
    return found


async def chosen(found: Surveyor, decide: Callable[[Snapshot], Flip | None]) -> str:
    flip = await found.choose(decide)
    return flip.unit if flip else ""


async def test_a_unit_is_chosen_for_what_it_does_now() -> None:
    units = Units(2 * AT_A_LOOK)
    units.change("unit-0000", short=0)
    units.change("unit-0001", short=0)
    found = await known(units)
    units.change("unit-0000", short=9)
    units.read.clear()
    # The first is not what it was; the second is.
    assert await chosen(found, fewest) == "unit-0001"
    assert units.read == ["unit-0000", "unit-0001"]


async def test_a_unit_that_was_just_read_is_chosen_as_it_was() -> None:
    units = Units(2 * AT_A_LOOK)
    units.change("unit-0100", short=0)
    found = await known(units)
    units.read.clear()
    assert await chosen(found, fewest) == "unit-0100"
    assert units.read == []


async def test_a_unit_that_has_left_is_not_chosen() -> None:
    units = Units(2 * AT_A_LOOK)
    units.change("unit-0000", short=0)
    found = await known(units)
    units.units.pop("unit-0000")
    assert await chosen(found, fewest) == "unit-0001"


async def test_a_look_does_not_read_for_ever_until_a_choice_holds() -> None:
    units = Units(2 * AT_A_LOOK)
    found = await known(units)
    for name in units.units:
        units.change(name, short=9)
    units.read.clear()
    assert await chosen(found, fewest) == ""
    assert 0 < len(units.read) < 10


async def test_nothing_wanted_reads_nothing_more() -> None:
    units = Units(2 * AT_A_LOOK)
    found = await known(units)
    units.read.clear()
    assert await chosen(found, lambda _: None) == ""
    assert units.read == []


async def test_long_prompts_under_way_are_seen_with_their_unit() -> None:
    units = Units(2 * AT_A_LOOK)
    units.long = {"unit-0003", "unit-0090"}
    seen = await surveyor(units).look(tally(), POLICY)
    assert {job.unit for job in seen.prefilling} == units.long
    assert {name for name, work in seen.work.items() if work.long_prefills} == units.long
