"""Counts a prompt's tokens: exactly with a tokenizer, else from its bytes."""

import asyncio
import math
from pathlib import Path

from tokenizers import Tokenizer

from common.ratio import DecayedRatio
from gateway.requests import Prompt

_INLINE_CHARACTERS = 2000
"""Texts up to here take less time to encode (below 1 ms) than to hand to a thread and back."""

_LEAST, _MOST = 1.0, 16.0
"""Bounds of bytes per token: a wrong report may not turn every prompt short or long."""

_PRIOR_TOKENS = 2000.0
"""How many observed tokens the setting that the estimate starts with is worth."""

_FADE = 1 / 200
"""The estimate follows about the last 200 answers."""


class BadTokenizer(Exception):
    """The tokenizer file is missing or is none."""


def load_tokenizer(path: Path) -> Tokenizer:
    """Raises BadTokenizer."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise BadTokenizer(f"cannot read the tokenizer {path}: {error}") from error


def text_bytes(prompt: Prompt) -> int:
    # An ASCII string knows its length in UTF-8; only others have to be encoded.
    return sum(len(text) if text.isascii() else len(text.encode()) for text in prompt.texts)


def learnable_bytes(prompt: Prompt) -> int:
    """The bytes that all of a prompt's tokens come from; 0 when some come from elsewhere."""
    return 0 if prompt.ids or prompt.pictured else text_bytes(prompt)


class TokenCounter:
    """Counts; without a tokenizer it learns how many bytes a token has from what units report."""

    def __init__(self, bytes_per_token: float, tokenizer: Tokenizer | None = None) -> None:
        self._tokenizer = tokenizer
        self._ratio = DecayedRatio(_FADE, bytes_per_token * _PRIOR_TOKENS, _PRIOR_TOKENS)

    @property
    def bytes_per_token(self) -> float:
        return min(_MOST, max(_LEAST, self._ratio.value or _LEAST))

    async def count(self, prompt: Prompt) -> int:
        if prompt.ids:
            return prompt.ids
        if self._tokenizer is None:
            return math.ceil(text_bytes(prompt) / self.bytes_per_token)
        if sum(map(len, prompt.texts)) <= _INLINE_CHARACTERS:
            return _encode(self._tokenizer, prompt.texts)
        return await asyncio.to_thread(_encode, self._tokenizer, prompt.texts)

    def learn(self, learnable: int, prompt_tokens: int) -> None:
        """Take in how many tokens a unit says that a prompt of so many learnable bytes had."""
        if learnable > 0 and prompt_tokens > 0:
            self._ratio.add(learnable, prompt_tokens)


def _encode(tokenizer: Tokenizer, texts: tuple[str, ...]) -> int:
    # The batch call lets go of the interpreter lock; the single one does not.
    return sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts)))
