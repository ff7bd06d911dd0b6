"""Prompts of an exact length in words, made when they are sent and held no longer."""

import random

# Short common words: one token each for a word counter, and with the space before it also for the
# byte-pair tokenizers of current models. All have three letters: a prompt is a slice of one text.
_TEXT = (
    "the and for are but not you all can her was one our out day get has him his how man new now "
    "old see two way who boy did its let put say she too use"
)
_WORDS = _TEXT.split()
_WIDTH_BYTES = 4
_BLOCK_WORDS = 16_384
_HEAD_WORDS = 8


class PromptMaker:
    """Makes the prompt of request `index`: the same for the same seed, and unlike every other.

    Each starts with words that spell its index, so that no unit can answer from a prefix that it
    has cached.
    """

    def __init__(self, seed: int) -> None:
        dice = random.Random(f"{seed}:prompts")
        self._seed = seed
        self._block = " ".join(dice.choices(_WORDS, k=_BLOCK_WORDS)) + " "

    def prompt(self, index: int, tokens: int) -> str:
        """`tokens` words with one space between."""
        head = self._head(index)[:tokens]
        body = self._words(random.Random(f"{self._seed}:{index}"), tokens - len(head))
        return f"{' '.join(head)} {body}".rstrip()

    def _head(self, index: int) -> list[str]:
        words = []
        for _ in range(_HEAD_WORDS):
            index, digit = divmod(index, len(_WORDS))
            words.append(_WORDS[digit])
        return words

    def _words(self, dice: random.Random, count: int) -> str:
        start_bytes = dice.randrange(_BLOCK_WORDS) * _WIDTH_BYTES
        end_bytes = start_bytes + count * _WIDTH_BYTES
        repeats = -(-end_bytes // len(self._block))
        return (self._block * repeats)[start_bytes:end_bytes]
