"""Tokens without a tokenizer: a counting rule for prompts and seeded words for answers."""

import random
import zlib
from collections.abc import Sequence

VOCABULARY_SIZE = 128_256
EOS_ID = 128_009
SHORT_WORD_CHARACTERS = 12
_BYTES_PER_TOKEN = 4

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "st", "tr")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
_CODAS = ("", "n", "r", "s", "t", "l", "m", "nd")
# Text of two, three and four UTF-8 bytes per character, so that a client that cuts bytes shows.
_FOREIGN = ("é", "straße", "naïve", "世界", "言葉", "мир", "слово", "🙂", "λόγος", "東京")

WORDS = (*(on + vo + co for on in _ONSETS for vo in _VOWELS for co in _CODAS), *_FOREIGN)
"""The words that answers are made of; a token's id is the word's place here."""

PIECES = tuple(" " + word for word in WORDS)
PIECE_BYTES = tuple(piece.encode() for piece in PIECES)
"""Ready for a JSON string: no word needs an escape."""

_ID_OF = {word: at for at, word in enumerate(WORDS)}
_NATURAL_MEDIAN_LOG = 5.0
_NATURAL_SIGMA = 0.7
_NATURAL_LONGEST = 2048


def count_tokens(text: str) -> int:
    """One token per whitespace separated word of up to 12 characters.

    A longer word counts its UTF-8 bytes divided by four, rounded up. Thus N short words with a
    space between them are exactly N tokens.
    """
    words = text.split()
    return sum(map(_word_tokens, [word for word in words if len(word) > SHORT_WORD_CHARACTERS])) + (
        sum(len(word) <= SHORT_WORD_CHARACTERS for word in words)
    )


def token_ids(text: str) -> list[int]:
    """As many ids as `count_tokens` counts; equal words have equal ids."""
    ids = []
    for word in text.split():
        known = _ID_OF.get(word)
        if known is not None:
            ids.append(known)
            continue
        count = 1 if len(word) <= SHORT_WORD_CHARACTERS else _word_tokens(word)
        first = zlib.crc32(word.encode())
        ids.extend(len(WORDS) + (first + at) % (EOS_ID - len(WORDS)) for at in range(count))
    return ids


def text_of(ids: Sequence[int]) -> str:
    """The words of an answer's ids; ids that no answer contains read as a word of their own."""
    return " ".join(WORDS[one] if one < len(WORDS) else f"<{one}>" for one in ids)


def draw_words(seed: int, count: int) -> list[int]:
    return random.Random(seed).choices(range(len(WORDS)), k=count)  # noqa: S311 - text, no secret


def natural_length(seed: int) -> int:
    """Tokens that a model would write if nobody limits it: log-normal with a median of 148."""
    drawn = random.Random(~seed).lognormvariate(  # noqa: S311 - a length, no secret
        _NATURAL_MEDIAN_LOG, _NATURAL_SIGMA
    )
    return max(1, min(round(drawn), _NATURAL_LONGEST))


def seed_of(server_seed: int, request_seed: int, prompt: bytes, choice: int) -> int:
    """Equal requests to servers of one seed get equal answers."""
    return (zlib.crc32(prompt, choice) << 32) ^ (server_seed * 1_000_003) ^ request_seed


def _word_tokens(word: str) -> int:
    return -(-len(word.encode()) // _BYTES_PER_TOKEN)
