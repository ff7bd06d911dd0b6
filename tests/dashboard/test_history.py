"""What a dashboard remembers, and that it forgets."""

import json
from typing import Any

from common.keys import CLASSES
from common.models import JobView, PoolView, QueueView, UnitView
from dashboard.follower import Follower
from dashboard.history import History
from dashboard.live import Live
from dashboard.settings import DashboardSettings
from dashboard.sight import HeldView, Sight
from dashboard.window import Window, quantile

SETTINGS = DashboardSettings(_env_file=None, dashboard_history_s=30)
NOW = 1_000_000_000


def sight(now_ms: int = NOW, depth: int = 0) -> Sight:
    unit = UnitView("unit-1", "short", alive=True, draining=False, short=1, long=0)
    queues = {name: QueueView(depth, None, taken=0) for name in CLASSES}
    view = PoolView(now_ms, (unit,), queues, overrides={})
    return Sight(view, {"unit-1": HeldView(1, ("job-1",))}, {}, leader=None, cooldown_s=0)


def event(kind: str, at_ms: int, **fields: str) -> dict[str, str]:
    return {"event": kind, "id": f"{at_ms}-0", "at_ms": str(at_ms)} | fields


def ended(first_byte_ms: int, *, stream: bool = True, outcome: str = "ok") -> JobView:
    return JobView(
        id="job-1", job_class="short", state="finished", outcome=outcome, reason="", unit="unit-1",
        why="own", attempt=1, tokens=10, stream=stream, status=200, submitted_ms=NOW,
        claimed_ms=NOW, first_byte_ms=first_byte_ms, finished_ms=NOW + 9000, prompt_tokens=10,
        completion_tokens=10,
    )  # fmt: skip


def page(history: History, boot: str = "", after: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(Live(history, SETTINGS).page(boot, after))
    return answer


def test_a_page_gets_only_the_points_that_it_has_not_seen() -> None:
    history = History(SETTINGS)
    for second in range(3):
        history.add(sight(NOW + 1000 * second, depth=second), [], [])
    assert [point["short"]["depth"] for point in page(history)["points"]] == [0, 1, 2]
    assert [point["t"] for point in page(history, history.boot, 2)["points"]] == [NOW + 2000]
    # Another dashboard, or this one started anew, counts its own points.
    assert len(page(history, "another", 2)["points"]) == 3


def test_an_absent_redis_leaves_a_gap_and_what_was_seen() -> None:
    history = History(SETTINGS)
    history.miss("refused")
    assert (page(history)["now"]["sight"], history.ready) == (None, False)
    history.add(sight(depth=7), [], [])
    history.miss("refused")
    said = page(history)
    assert [point.get("gap", False) for point in said["points"]] == [True, False, True]
    assert said["now"]["redis"]["up"] is False
    assert said["now"]["sight"]["classes"]["short"]["depth"] == 7


def test_what_is_kept_is_bounded() -> None:
    history = History(SETTINGS)
    for second in range(100):
        at_ms = NOW + 1000 * second
        happened = [event("submitted", at_ms, job=f"job-{second}-{i}") for i in range(300)]
        happened += [event("flipped", at_ms, unit="unit-1", to="long") for _ in range(10)]
        history.add(sight(at_ms), happened, [])
    assert len(page(history)["points"]) == 30
    assert len(page(history)["now"]["told"]) == 200
    assert len(history.happenings._submits) == 20_000


def test_a_wait_ends_with_the_first_claim() -> None:
    history = History(SETTINGS)
    happened = [
        event("submitted", NOW - 3000, job="job-1", **{"class": "long"}),
        event("claimed", NOW - 1000, job="job-1", **{"class": "long"}),
        event("requeued", NOW - 800, job="job-1", **{"class": "long"}),
        event("claimed", NOW - 500, job="job-1", **{"class": "long"}),
        event("claimed", NOW - 400, job="job-of-old", **{"class": "long"}),
    ]
    history.add(sight(), happened, [])
    waits = page(history)["now"]["sight"]["classes"]["long"]["wait_s"]
    assert waits == {"p50": 2.0, "p95": 2.0, "p99": 2.0, "count": 1}


def test_ttft_is_that_of_streams_that_were_answered() -> None:
    history = History(SETTINGS)
    jobs = [ended(NOW + 250), ended(NOW + 9000, stream=False), ended(NOW + 1, outcome="failed")]
    history.add(sight(NOW + 9500), [], jobs)
    ttft = page(history)["now"]["sight"]["classes"]["short"]["ttft_s"]
    assert (ttft["p50"], ttft["count"]) == (0.25, 1)


def test_no_page_tells_what_somebody_asked_or_who_it_was() -> None:
    fields = set(JobView.__dataclass_fields__)
    assert fields.isdisjoint({"body", "owner", "gateway"})


def test_a_window_forgets_what_is_old_and_what_does_not_fit() -> None:
    window = Window(span_s=10, most=5)
    for second in range(8):
        window.add(1000 * second, second)
    assert window.last(7000, 2) == [7, 6, 5]
    assert window.last(7000, 100) == [7, 6, 5, 4, 3]
    window.forget_before(15_000)
    assert window.last(15_000, 100) == [7, 6, 5]


def test_a_rate_of_more_than_is_kept_counts_over_the_time_of_what_is_kept() -> None:
    window = Window(span_s=100, most=50)
    for tenth in range(1000):
        window.add(100 * tenth, 1)
    assert round(window.per_second(99_900, 30)) == 10


def test_quantiles_are_values_that_occurred() -> None:
    assert quantile([], 0.5) is None
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert quantile([float(number) for number in range(1, 101)], 0.95) == 95.0
    assert quantile([5.0], 0.99) == 5.0


class Flood:
    """Events that come faster than anybody reads them."""

    def __init__(self) -> None:
        self.reads = 0

    async def now_ms(self) -> int:
        return NOW

    async def events(self, _since: str, _upto: str, count: int) -> list[dict[str, str]]:
        self.reads += 1
        first = NOW - 3_600_000 + 1000 * self.reads
        return [{"id": f"{first + number}-0", "event": "submitted"} for number in range(count)]


async def test_a_flood_of_events_costs_redis_no_more_than_a_few_reads() -> None:
    flood: Any = Flood()
    follower = Follower(flood, span_s=300)
    assert len(await follower.read()) == 5000
    assert (flood.reads, follower.skipped) == (5, 1)
    await follower.read()
    assert flood.reads == 10
