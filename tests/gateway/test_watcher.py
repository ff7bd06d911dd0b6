"""What follows from looking at the pool again and again."""

from collections.abc import Iterable
from typing import Any, cast

import pytest

from common.keys import CLASSES
from common.models import QueueView
from common.policy import Policy
from common.tallies import Tally
from common.views import Views
from gateway.estimator import Estimator
from gateway.watcher import Watcher


class Looks:
    """A pool of which the queues' counts and times are given."""

    def __init__(self, looks: Iterable[tuple[int, int]]) -> None:
        self._looks = iter(looks)

    async def tally(self) -> Tally:
        now_ms, taken = next(self._looks)
        queue = QueueView(depth=0, oldest_s=None, taken=taken)
        return Tally(now_ms, 0, dict.fromkeys(CLASSES, 0), (), dict.fromkeys(CLASSES, queue), {})


async def watcher_after(*looks: tuple[int, int]) -> Watcher:
    watcher = Watcher(cast("Views", cast("Any", Looks(looks))), Policy(), 1.0, 5.0)
    for _ in looks:
        await watcher.look()
    return watcher


@pytest.mark.parametrize(
    ("taken", "depth", "retry_after_s"),
    [(100, 0, 1), (100, 5, 1), (100, 200, 20), (100, 101, 11), (100, 10_000, 119), (0, 50, 119)],
)
async def test_the_time_to_come_back_is_that_of_draining_what_waits(
    taken: int, depth: int, retry_after_s: int
) -> None:
    watcher = await watcher_after((0, 0), (10_000, taken))
    assert Estimator(watcher).retry_after_s("short", depth) == retry_after_s


async def test_without_a_second_look_the_drain_is_unknown() -> None:
    watcher = await watcher_after((0, 50))
    assert watcher.drain("long").starts == 0
    assert Estimator(watcher).retry_after_s("long", 3) == 119


async def test_a_count_that_starts_again_is_no_negative_drain() -> None:
    watcher = await watcher_after((0, 500), (1000, 3), (2000, 13))
    assert watcher.drain("short").starts == pytest.approx(5.1, abs=0.2)


def test_only_the_wrong_overrides_are_left_out() -> None:
    overrides = {"qhap_min_short": "0", "qhap_scale_up_above": "7", "unheard_of": "1"}
    policy = Policy().under(overrides)
    assert (policy.qhap_min_short, policy.qhap_scale_up_above) == (1, 7)
