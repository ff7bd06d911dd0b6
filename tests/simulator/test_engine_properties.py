"""What holds for the engine whatever arrives and leaves, in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from simulator.engine import BLOCK_TOKENS, Engine, Limits, Sequence, State, blocks_for

limits = st.builds(
    Limits,
    kv_cache_tokens=st.integers(20, 60).map(lambda blocks: blocks * BLOCK_TOKENS),
    max_num_seqs=st.integers(1, 8),
    max_batched_tokens=st.integers(8, 200),
)
sequences = st.lists(st.tuples(st.integers(1, 200), st.integers(1, 60)), min_size=1, max_size=20)
# Each number tells after how many further steps the next sequence arrives.
pauses = st.lists(st.integers(0, 5), min_size=20, max_size=20)
aborted = st.sets(st.integers(0, 19))


def check_step(engine: Engine, limit: Limits) -> list[Sequence]:
    before = {one: one.generated_tokens for one in engine.running}
    step = engine.schedule(0.0)
    tokens = sum(count for _, count in step.chunks)
    assert 0 < tokens <= limit.max_batched_tokens
    assert all(count > 0 for _, count in step.chunks)
    assert len(engine.running) <= limit.max_num_seqs
    assert 0 <= engine.free_blocks <= limit.blocks
    held = sum(one.blocks for one in (*engine.running, *engine.waiting))
    assert held + engine.free_blocks == limit.blocks
    emitted = engine.complete(step, 0.0)
    assert all(one.generated_tokens == before.get(one, 0) + 1 for one in emitted if one in before)
    assert all(one.blocks >= blocks_for(one.computed_tokens) for one in engine.running)
    return emitted


@given(limits, sequences, pauses)
def test_every_sequence_finishes_with_exactly_its_tokens_and_the_cache_ends_empty(
    limit: Limits, lengths: list[tuple[int, int]], steps_between: list[int]
) -> None:
    engine = Engine(limit)
    sent = [Sequence(prompt, output) for prompt, output in lengths]
    emitted: list[Sequence] = []
    for sequence, steps in zip(sent, steps_between, strict=False):
        engine.add(sequence, 0.0)
        for _ in range(steps):
            if not engine.idle:
                emitted += check_step(engine, limit)
    for _ in range(20_000):
        if engine.idle:
            break
        emitted += check_step(engine, limit)
    assert all(one.state is State.FINISHED for one in sent)
    assert all(emitted.count(one) == one.output_tokens for one in sent)
    assert engine.free_blocks == limit.blocks


@given(limits, sequences, pauses, aborted)
def test_aborts_at_any_time_leak_no_block_and_harm_nobody_else(
    limit: Limits, lengths: list[tuple[int, int]], steps_between: list[int], leaving: set[int]
) -> None:
    engine = Engine(limit)
    sent = [Sequence(prompt, output) for prompt, output in lengths]
    for at, (sequence, steps) in enumerate(zip(sent, steps_between, strict=False)):
        engine.add(sequence, 0.0)
        for _ in range(steps):
            if not engine.idle:
                check_step(engine, limit)
        if at in leaving:
            engine.abort(sent[at // 2])
    while not engine.idle:
        check_step(engine, limit)
    assert all(one.state in {State.FINISHED, State.ABORTED} for one in sent)
    assert engine.free_blocks == limit.blocks
