"""RQ's keys say what a picture says, whatever stood there before."""

import random

import pytest
from fakeredis import FakeRedis
from rq import Queue, Worker
from rq.job import Job
from rq.registry import (
    BaseRegistry,
    CanceledJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    StartedJobRegistry,
)

from common.keys import CLASSES
from common.models import DeadView, HeldView, JobView, UnitView
from dashboard.picture import Picture, Place, Shown, draw
from dashboard.rq_writer import RqWriter

REGISTRIES: dict[Place, type[BaseRegistry]] = {
    "started": StartedJobRegistry,
    "finished": FinishedJobRegistry,
    "failed": FailedJobRegistry,
    "canceled": CanceledJobRegistry,
}
NOW = 1_800_000_000_000


@pytest.fixture
def redis() -> FakeRedis:
    return FakeRedis(protocol=2)


def unit(name: str, *, draining: bool = False, short: int = 0, alive: bool = True) -> UnitView:
    return UnitView(name, "long", alive=alive, draining=draining, short=short, long=0)


def some_picture(rng: random.Random) -> Picture:
    places: list[Place] = ["queued", "started", "finished", "failed", "canceled"]
    jobs = {}
    for number in rng.sample(range(30), rng.randrange(30)):
        place = rng.choice(places)
        at_unit = "" if place == "queued" else rng.choice(["a", "b"])
        ended = None if place in {"queued", "started"} else NOW + 1000 * number
        jobs[f"job-{number}"] = Shown(
            f"job-{number}", CLASSES[number % 2], place, at_unit, attempt=1, finished_ms=ended
        )
    names = rng.sample(["a", "b", "c"], rng.randrange(4))
    return Picture(jobs, tuple(unit(name, short=rng.randrange(2)) for name in names))


@pytest.mark.parametrize("seed", range(5))
def test_rq_sees_each_picture_after_the_other(redis: FakeRedis, seed: int) -> None:
    rng = random.Random(seed)
    writer = RqWriter(redis)
    for _ in range(20):
        picture = some_picture(rng)
        writer.write(picture)
        assert {queue.name for queue in Queue.all(redis)} == set(CLASSES)
        for name in CLASSES:
            assert Queue(name, connection=redis).get_job_ids() == picture.queue(name)
            for place, kind in REGISTRIES.items():
                ids = kind(name, connection=redis).get_job_ids(cleanup=False)
                shown = [
                    j for j in picture.jobs.values() if (j.place, j.job_class) == (place, name)
                ]
                assert sorted(ids) == sorted(job.id for job in shown)
        for job in picture.jobs.values():
            assert Job.fetch(job.id, redis).get_status().value == job.place
        workers = {worker.name: worker for worker in Worker.all(redis)}
        assert set(workers) == {each.name for each in picture.units}
        for name, worker in workers.items():
            started = [
                j.id for j in picture.jobs.values() if (j.place, j.unit) == ("started", name)
            ]
            assert (worker.get_current_job_id() in started) if started else not worker.execution


def test_an_empty_picture_leaves_nothing_but_the_names_of_the_queues(redis: FakeRedis) -> None:
    writer = RqWriter(redis)
    for seed in range(5):
        writer.write(some_picture(random.Random(seed)))
    writer.write(Picture({}, ()))
    assert [key.decode() for key in redis.scan_iter()] == ["rq:queues"]


def test_what_ended_last_is_last(redis: FakeRedis) -> None:
    ends = {"job-a": 3, "job-b": 1, "job-c": 2}
    jobs = {
        job: Shown(job, "short", "finished", "a", finished_ms=NOW + 1000 * second)
        for job, second in ends.items()
    }
    RqWriter(redis).write(Picture(jobs, ()))
    ids = FinishedJobRegistry("short", connection=redis).get_job_ids(cleanup=False)
    assert ids == ["job-b", "job-c", "job-a"]


def test_a_failed_job_says_why(redis: FakeRedis) -> None:
    shown = Shown("job-a", "long", "failed", "a", reason="dead after attempt 3: unit failed")
    RqWriter(redis).write(Picture({"job-a": shown}, ()))
    result = Job.fetch("job-a", redis).latest_result()
    assert result is not None
    assert result.exc_string == "dead after attempt 3: unit failed"


def view(job: str, state: str, outcome: str = "", unit: str = "a") -> JobView:
    return JobView(
        id=job, job_class="short", state=state, outcome=outcome, reason="", unit=unit, why="own",
        attempt=1, tokens=5, stream=True, status=200, submitted_ms=NOW, claimed_ms=NOW,
        first_byte_ms=NOW, finished_ms=NOW, prompt_tokens=5, completion_tokens=5,
    )  # fmt: skip


def test_the_record_decides_where_a_job_is_when_reads_disagree() -> None:
    # Between the reads of the queue, the leases and the records each of these went on.
    known = {
        "was-waiting": view("was-waiting", "running"),
        "was-running": view("was-running", "finished", "ok"),
        "was-given-back": view("was-given-back", "queued"),
    }
    held = {"a": HeldView(2, ("was-running", "was-given-back"))}
    picture = draw([unit("a")], held, [], ["was-waiting", "gone"], known)
    places = {job.id: job.place for job in picture.jobs.values()}
    assert places == {
        "was-waiting": "started", "was-running": "finished", "was-given-back": "queued",
    }  # fmt: skip


def test_dead_jobs_are_those_on_the_list_of_the_dead() -> None:
    letter = DeadView("1-0", "job-a", "long", "b", 3, "unit failed", NOW)
    known = {"job-b": view("job-b", "finished", "dead")}
    picture = draw([unit("a", alive=False)], {}, [letter], [], known)
    assert [(job.id, job.place) for job in picture.jobs.values()] == [("job-a", "failed")]
    assert picture.units == ()
