"""look: whom it lets rest a claim would have given nothing, whatever the bounds of both are."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from common.keys import CLASSES, JobClass
from common.models import Bounds, ClaimedJob
from tests.lua.conftest import Pool, fake_connection, new_pool

UNITS = ("a", "b", "c")
LIMITS = {"worker_concurrency_limit_short": 4, "worker_concurrency_limit_long": 2}

bounds = st.one_of(
    st.just(Bounds()),
    st.builds(
        Bounds,
        short_tokens=st.sampled_from((0, 150, 1000)),
        long_jobs=st.sampled_from((0, 1, 2)),
        oldest_every=st.just(8),
        steal_idle_s=st.sampled_from((None, 0.0, 4.0)),
    ),
)


class Seen:
    """A pool in which each look is followed by the claim, and what its units hold."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool.with_settings(**LIMITS)
        self.held: list[tuple[str, ClaimedJob]] = []

    async def look(self, unit: str, bounds: Bounds) -> None:
        may = await self.pool.store.may_claim(unit, None, 0.0, bounds)
        assert await self.claim(unit, bounds) == 0 or may

    async def rest(self, pick: int, bounds: Bounds) -> None:
        """Who rests leaves nothing, but what others were woken for."""
        unit, job = self.held.pop(pick % len(self.held))
        finishes = [self.pool.finished(job)]
        turn = await self.pool.store.turn(unit, finishes=finishes, bounds=bounds, rest=True)
        woken = [await self.pool.redis("EXISTS", self.pool.keys.woken(name)) for name in CLASSES]
        if not turn.waiting and not any(woken):
            assert await self.claim(unit, bounds) == 0

    async def claim(self, unit: str, bounds: Bounds) -> int:
        turn = await self.pool.store.turn(unit, claim=True, bounds=bounds)
        assert turn.claim
        self.held += [(unit, job) for job in turn.claim.jobs]
        return len(turn.claim.jobs)

    async def beat(self, *units: str) -> None:
        for unit in units:
            await self.pool.store.register(unit, {"url": "http://unit"})


@given(st.randoms(use_true_random=False), st.lists(bounds, min_size=1, max_size=6))
@settings(max_examples=60, derandomize=True, database=None)
async def test_on_fakeredis_whom_a_look_lets_rest_a_claim_gives_nothing(
    drawn: random.Random, known: list[Bounds]
) -> None:
    async with fake_connection() as connection:
        seen = Seen(await new_pool(connection))
        await seen.beat(*UNITS)
        for _ in range(30):
            await _step(seen, drawn, drawn.choice(known))


async def _step(seen: Seen, drawn: random.Random, bounds: Bounds) -> None:
    pool, unit = seen.pool, drawn.choice(UNITS)
    match drawn.randrange(7):
        case 0 | 1:
            await pool.submit(drawn.choice(CLASSES), count=drawn.randint(1, 3))
        case 2 | 3:
            await seen.look(unit, bounds)
        case 4 if seen.held:
            await seen.rest(drawn.randrange(100), bounds)
        case 5:
            role: JobClass = drawn.choice(CLASSES)
            await pool.redis("SET", pool.keys.role(unit), role)
        case _:
            await pool.pass_time(drawn.choice((0.5, 3.0, 10.0, 61.0)))
            # Now and then one is alone.
            await seen.beat(*drawn.choice((UNITS, UNITS, (unit,))))
