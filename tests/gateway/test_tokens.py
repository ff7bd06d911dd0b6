"""How prompt tokens are counted and estimated."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from gateway.requests import Prompt
from gateway.tokens import BadTokenizer, TokenCounter, learnable_bytes, load_tokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    made = Tokenizer(WordLevel({"word": 0, "?": 1}, unk_token="?"))  # noqa: S106  # a token of text, not of access
    made.pre_tokenizer = Whitespace()
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return load_tokenizer(path)


@pytest.mark.parametrize("words", [0, 1, 7, 4096])
async def test_a_tokenizer_counts_exactly(tokenizer: Tokenizer, words: int) -> None:
    counter = TokenCounter(4.0, tokenizer)
    assert await counter.count(Prompt(("word " * words,))) == words
    assert await counter.count(Prompt(("word " * words, "word"))) == words + 1


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTokenizer):
        load_tokenizer(tmp_path / "nothing.json")


async def test_the_estimate_goes_where_the_usage_goes() -> None:
    counter = TokenCounter(4.0)
    for _ in range(2000):
        counter.learn(600, 100)
    assert counter.bytes_per_token == pytest.approx(6.0, rel=0.05)
    assert await counter.count(Prompt(("x" * 600,))) == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize(("learnable", "tokens", "bound"), [(10**9, 1, 16.0), (1, 10**9, 1.0)])
def test_a_wild_report_moves_the_estimate_no_further_than_its_bounds(
    learnable: int, tokens: int, bound: float
) -> None:
    counter = TokenCounter(4.0)
    counter.learn(learnable, tokens)
    assert counter.bytes_per_token == bound


def test_nothing_is_learnt_where_length_says_little() -> None:
    counter = TokenCounter(4.0)
    for prompt in (Prompt(ids=9), Prompt(("x" * 900,), pictured=True)):
        counter.learn(learnable_bytes(prompt), 9000)
    counter.learn(900, 0)
    assert counter.bytes_per_token == 4.0
