"""Scheduling step by step: who gets how many tokens, and what that leaves in the cache."""

import pytest

from simulator.engine import BLOCK_TOKENS, Engine, Limits, Sequence, State


def make_engine(kv_cache_tokens: int = 1600, **limits: int) -> Engine:
    return Engine(Limits(kv_cache_tokens, **limits))


def add(engine: Engine, prompt_tokens: int, output_tokens: int) -> Sequence:
    sequence = Sequence(prompt_tokens, output_tokens)
    engine.add(sequence, 0.0)
    return sequence


def step(engine: Engine, now_s: float = 0.0) -> dict[Sequence, int]:
    planned = engine.schedule(now_s)
    engine.complete(planned, now_s)
    return dict(planned.chunks)


def run(engine: Engine, limit: int = 10_000) -> int:
    steps = 0
    while not engine.idle:
        step(engine)
        steps += 1
        assert steps < limit
    return steps


def test_a_prompt_that_fits_one_step_gets_its_first_token_at_the_end_of_it() -> None:
    engine = make_engine()
    sequence = add(engine, 100, 3)
    planned = engine.schedule(0.0)
    assert sequence.generated_tokens == 0
    assert engine.complete(planned, 0.5) == [sequence]
    assert (sequence.generated_tokens, sequence.first_token_s) == (1, 0.5)


def test_n_output_tokens_take_n_steps() -> None:
    engine = make_engine()
    sequence = add(engine, 100, 7)
    assert run(engine) == 7
    assert sequence.state is State.FINISHED


@pytest.mark.parametrize(
    ("prompt_tokens", "chunks"), [(8, [8]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])]
)
def test_a_long_prompt_is_cut_into_chunks(prompt_tokens: int, chunks: list[int]) -> None:
    engine = make_engine(max_batched_tokens=10)
    sequence = add(engine, prompt_tokens, 1)
    assert [step(engine)[sequence] for _ in chunks] == chunks
    assert sequence.state is State.FINISHED


def test_decodes_go_first_and_prefill_takes_what_is_left_of_the_step() -> None:
    engine = make_engine(max_batched_tokens=10)
    chats = [add(engine, 2, 50) for _ in range(3)]
    step(engine)
    document = add(engine, 30, 1)
    assert step(engine) == {**dict.fromkeys(chats, 1), document: 7}


def test_waiting_prompts_are_admitted_first_come_first_served() -> None:
    engine = make_engine(max_batched_tokens=10)
    first, second, third = (add(engine, 6, 1) for _ in range(3))
    assert step(engine) == {first: 6, second: 4}
    assert step(engine) == {second: 2, third: 6}


def test_who_arrives_while_a_step_computes_misses_the_next_one_too() -> None:
    engine = make_engine()
    chat = add(engine, 4, 9)
    planned = engine.schedule(10.0)
    late = Sequence(6, 1)
    engine.add(late, 10.5)
    engine.complete(planned, 11.0)
    assert step(engine, 11.0) == {chat: 1}
    assert step(engine, 12.0) == {chat: 1, late: 6}


def test_who_arrives_at_an_idle_unit_is_in_the_next_step() -> None:
    engine = make_engine()
    add(engine, 4, 1)
    step(engine, 10.0)
    late = Sequence(6, 1)
    engine.add(late, 10.5)
    assert step(engine, 11.0) == {late: 6}


def test_no_more_than_max_num_seqs_run() -> None:
    engine = make_engine(max_num_seqs=2)
    sequences = [add(engine, 4, 2) for _ in range(3)]
    step(engine)
    assert [one.state for one in sequences] == [State.RUNNING, State.RUNNING, State.WAITING]


def test_a_prompt_waits_until_all_of_it_fits_the_cache() -> None:
    engine = make_engine(kv_cache_tokens=10 * BLOCK_TOKENS)
    first = add(engine, 9 * BLOCK_TOKENS, 4)
    second = add(engine, 2 * BLOCK_TOKENS, 1)
    while first.state is not State.FINISHED:
        step(engine)
        assert second.state is State.WAITING
    run(engine)
    assert second.state is State.FINISHED


def test_the_youngest_is_preempted_and_computes_everything_again() -> None:
    engine = make_engine(kv_cache_tokens=4 * BLOCK_TOKENS)
    old = add(engine, 2 * BLOCK_TOKENS - 2, 20)
    young = add(engine, 2 * BLOCK_TOKENS - 2, 20)
    while not young.preemptions:
        step(engine)
    written = young.generated_tokens
    assert (young.state, young.computed_tokens, young.blocks) == (State.WAITING, 0, 0)
    assert old.preemptions == 0
    while old.state is not State.FINISHED:
        step(engine)
    chunk = step(engine)[young]
    assert chunk == young.prompt_tokens + written
    run(engine)
    assert (old.generated_tokens, young.generated_tokens) == (20, 20)


def test_a_step_that_preempts_admits_nobody() -> None:
    engine = make_engine(kv_cache_tokens=4 * BLOCK_TOKENS)
    add(engine, 2 * BLOCK_TOKENS - 2, 20)
    add(engine, 2 * BLOCK_TOKENS - 2, 20)
    preempted = 0
    while not preempted:
        planned = engine.schedule(0.0)
        preempted = planned.preempted
        engine.complete(planned, 0.0)
    assert len(planned.chunks) == 1


@pytest.mark.parametrize("steps_before", [0, 1, 3])
def test_an_aborted_sequence_frees_its_blocks_at_once(steps_before: int) -> None:
    engine = make_engine(max_batched_tokens=64)
    sequence = add(engine, 100, 50)
    for _ in range(steps_before):
        step(engine)
    assert engine.abort(sequence)
    assert engine.idle
    assert engine.kv_usage == 0
    assert not engine.abort(sequence)


def test_a_sequence_aborted_within_a_step_gets_no_token_from_it() -> None:
    engine = make_engine()
    stays, leaves = add(engine, 10, 2), add(engine, 10, 2)
    planned = engine.schedule(0.0)
    engine.abort(leaves)
    assert engine.complete(planned, 1.0) == [stays]
    assert leaves.generated_tokens == 0


def test_a_sequence_longer_than_the_cache_is_refused() -> None:
    engine = make_engine(kv_cache_tokens=160)
    with pytest.raises(ValueError, match="longer than the whole KV cache"):
        add(engine, 150, 20)


def test_the_load_tells_decodes_from_prefill() -> None:
    engine = make_engine(max_batched_tokens=50)
    add(engine, 10, 9)
    step(engine)
    add(engine, 100, 1)
    step(engine)
    load = engine.schedule(0.0).load
    assert (load.decode_sequences, load.decode_context_tokens) == (1, 12)
    assert (load.prefill_tokens, load.prefill_attention) == (49, 49 * (49 + 49 / 2))
