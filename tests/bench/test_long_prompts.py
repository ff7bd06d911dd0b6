"""Long prompts are weighed, and others' tokens timed, through real processes."""

from bench.cost.ports import Ports
from bench.long_prompts import Asked, run, tables


async def test_others_tokens_and_the_memory_of_every_part_are_seen() -> None:
    ask = Asked(
        streams=2, tokens_per_s=50.0, prompts=2, body_bytes=300_000, tokens=5, rounds=1, calm_s=0.5
    )
    result = await run(Ports(18700), ask)
    for name in ("calm", "short", "long"):
        assert result["gap_s"][name]["n"] > 0
        assert len(result["p99_of_rounds_s"][name]) == 1
    assert set(result["copies"]) == {"gateways", "dispatchers", "scaler", "Redis"}
    assert result["copies_together"] > 0
    assert len(tables(result)) == 2
