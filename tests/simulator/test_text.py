"""The token rule, and texts that are a function of their seed."""

import pytest

from simulator import text


@pytest.mark.parametrize(
    ("written", "tokens"),
    [
        ("", 0),
        ("   ", 0),
        ("hello", 1),
        ("hello there\nyou", 3),
        ("abcdefghijkl", 1),
        ("abcdefghijklm", 4),
        ("x" * 100, 25),
        ("x" * 101, 26),
        ("世界", 1),
        ("世" * 13, 10),
        ("a " * 30_000, 30_000),
    ],
)
def test_tokens_are_counted_by_the_documented_rule(written: str, tokens: int) -> None:
    assert text.count_tokens(written) == tokens
    assert len(text.token_ids(written)) == tokens


def test_every_word_of_an_answer_is_one_token() -> None:
    assert [word for word in text.WORDS if text.count_tokens(word) != 1] == []
    assert len(set(text.WORDS)) == len(text.WORDS)


def test_an_answer_survives_tokenize_and_detokenize() -> None:
    ids = text.draw_words(7, 500)
    assert text.token_ids(text.text_of(ids)) == ids


def test_pieces_need_no_escape_in_json() -> None:
    assert not set("".join(text.PIECES)) & {'"', "\\", *map(chr, range(32))}


def test_lengths_are_plausible_and_repeatable() -> None:
    lengths = [text.natural_length(seed) for seed in range(2000)]
    assert lengths == [text.natural_length(seed) for seed in range(2000)]
    assert min(lengths) >= 1
    assert max(lengths) <= 2048
    assert 130 < sorted(lengths)[1000] < 170
