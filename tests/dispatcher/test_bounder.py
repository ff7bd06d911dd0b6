"""The bounder: what it says of running jobs, and that it follows the live overrides."""

from typing import Any, cast

from common.models import UNBOUNDED, Claim, ClaimedJob
from common.policy import Policy
from common.steals import Stealing
from dispatcher.bounder import Bounder
from dispatcher.running import RunningJobs


class Overrides:
    """Views of a pool: its overrides, and what steals may be."""

    def __init__(self, **overrides: str) -> None:
        self.now = overrides
        self.limits = Stealing()

    async def overrides(self) -> dict[str, str]:
        return dict(self.now)

    async def stealing(self) -> Stealing:
        return self.limits


def bounder(policy: Policy, running: RunningJobs, views: Overrides) -> Bounder:
    return Bounder(cast("Any", views), policy, running)


def long_job(tokens: int) -> ClaimedJob:
    return ClaimedJob(
        id="job-1",
        job_class="long",
        attempt=1,
        why="own",
        submitted_ms=0,
        claimed_ms=0,
        deadline_ms=600_000,
        gateway="gateway",
        route="/v1/completions",
        stream=True,
        body=b"",
        tokens=tokens,
    )


async def test_a_live_override_turns_the_bounds_on_and_off() -> None:
    views = Overrides()
    found = bounder(Policy(), RunningJobs(), views)
    await found.step()
    assert found.bounds() is UNBOUNDED
    views.now = {"policy": "adaptive"}
    await found.step()
    assert found.bounds().long_jobs == 1
    views.now = {}
    await found.step()
    assert found.bounds() is UNBOUNDED


async def test_a_wrong_override_changes_nothing() -> None:
    found = bounder(Policy(), RunningJobs(), Overrides(policy="clever"))
    await found.step()
    assert found.bounds() is UNBOUNDED


async def test_a_long_prefill_bounds_the_next_claim_until_its_first_byte() -> None:
    running = RunningJobs()
    found = bounder(Policy(policy="adaptive"), running, Overrides())
    found.claimed(Claim(role="long"))
    job = running.add(long_job(20_000))
    assert (found.bounds().short_tokens, found.bounds().long_jobs) == (0, 0)
    job.sent = True
    found.first_byte(job)
    assert found.bounds().long_jobs == 1
    # It came at once: the unit is faster than estimated, and more fits into its backlog.
    assert found.pace < 1
    assert (found.bounds().short_tokens or 0) > 3419


async def test_claims_are_bounded_by_what_steals_may_be() -> None:
    views = Overrides(policy="adaptive")
    found = bounder(Policy(), RunningJobs(), views)
    await found.step()
    assert (found.bounds().steal_idle_s, found.bounds().steal_tokens) == (None, None)
    views.limits = Stealing(idle_s=4.0, tokens=20_000)
    await found.step()
    assert (found.bounds().steal_idle_s, found.bounds().steal_tokens) == (4.0, 20_000)


async def test_only_a_class_that_is_taken_again_asks_for_a_claim() -> None:
    running = RunningJobs()
    found = bounder(Policy(policy="adaptive"), running, Overrides())
    job = running.add(long_job(20_000))
    found.claimed(Claim(role="long"))
    assert not found.opened
    job.sent = True
    assert found.opened
    # A finish has told Redis so: it wakes the unit for what comes.
    found.rested(found.bounds())
    assert not found.opened


async def test_a_full_unit_waits_for_the_end_of_a_job_and_not_for_its_first_byte() -> None:
    running = RunningJobs()
    found = bounder(Policy(policy="adaptive"), running, Overrides())
    job = running.add(long_job(20_000))
    found.claimed(Claim(role="long", full=True))
    job.sent = True
    assert not found.opened


async def test_a_job_that_has_ended_bounds_nothing_more() -> None:
    running = RunningJobs()
    found = bounder(Policy(policy="adaptive"), running, Overrides())
    job = running.add(long_job(20_000))
    found.claimed(Claim(role="long"))
    # Redis has not heard of it yet: it does together with these bounds.
    job.ended = True
    assert found.bounds().long_jobs == 1
    assert (found.bounds().short_tokens or 0) > 0


async def test_without_bounds_nothing_opens() -> None:
    running = RunningJobs()
    found = bounder(Policy(), running, Overrides())
    found.claimed(Claim(role="long"))
    assert not found.opened
