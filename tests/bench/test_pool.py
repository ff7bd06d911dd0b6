"""A look at a pool costs what it says, and is a look at the pool that was made."""

from bench.pool import run, tables


async def test_pools_are_looked_at_and_kept_alive_and_both_are_measured() -> None:
    result = await run([4, 12], rounds=2)
    for pool, units in zip(result["pools"], (4, 12), strict=True):
        assert pool["units"] == units
        assert all(each["cpu_us"] >= 0 for each in pool["duties"].values())
        # A heartbeat, the live policy, who is overdue; half a look for work, half a wait.
        assert pool["idle"]["commands_per_s"] == units * (1 + 1 + 1 + 1 / 2 + 1 / 2)
        assert all(0 < step["p50"] <= step["max"] for step in pool["steps_s"].values())
    assert len(tables(result)) == 2
