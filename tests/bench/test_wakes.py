"""Claims, wake-ups and looks are those of the dispatchers' own claimers."""

import pytest

from bench.wakes import measure


@pytest.mark.parametrize(("load", "policy"), [("light", "published"), ("saturated", "adaptive")])
async def test_jobs_are_claimed_as_they_come(load: str, policy: str) -> None:
    found = await measure(30, load, policy, jobs_per_s=50.0, measured_s=2.0)
    assert found["jobs"] > 0
    assert found["claims_per_job"] > 0
    assert found["empty_claims_per_job"] < found["claims_per_job"]
    if load == "light":
        # Whoever waits is told of it.
        assert found["wakes_per_job"] > 0
