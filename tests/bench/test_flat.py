"""The figures of growth come from scenes that stay as they are said to be."""

from bench.flat import Scene, drained, run


async def test_every_scene_keeps_its_jobs_and_slots_and_is_measured() -> None:
    scenes = [Scene("small", 10, 4), Scene("deep", 500, 4)]
    result = await run(scenes, rounds=2, body_bytes=100)
    small, deep = result["scenes"]
    assert set(small["to_the_first"].values()) == {1.0}
    assert all(ratio > 0 for ratio in deep["to_the_first"].values())
    # A job is its hash, its entry and its places; much less would be none of it, more a leak.
    assert 300 < deep["job_bytes_beside_its_body"] < 3000


async def test_a_queue_that_was_drained_leaves_events_and_no_job() -> None:
    left = await drained(Scene("deep", 300, 4), body_bytes=1000)
    assert left["full_bytes"] > 300 * 1000
    # Of the units, not of the jobs.
    assert set(left["left_keys"]) <= {"active", "bytes", "events", "hungry", "wake", "woken"}
    assert left["left_bytes"] - left["of_events_bytes"] < 100_000
