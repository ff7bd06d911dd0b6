"""Prompts of a planned length, made when they are sent and held no longer."""

import random
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from bench.client import JSON_HEADERS, chat_body

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
_PROBES_WORDS = (64, 1024)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How a model counts our words: tokens for each, and those that its chat template adds."""

    tokens_per_word: float = 1.0
    template_tokens: float = 0.0

    def words(self, tokens: int) -> int:
        """How many words make a prompt of about so many tokens; at least one."""
        return max(1, round((tokens - self.template_tokens) / self.tokens_per_word))


class PromptMaker:
    """Makes the prompt of request `index`: the same for the same seed, and unlike every other.

    Each starts with words that spell its index, so that no unit can answer from a prefix that it
    has cached.
    """

    def __init__(self, seed: int, ratio: Ratio | None = None) -> None:
        dice = random.Random(f"{seed}:prompts")
        self._seed = seed
        self._ratio = ratio or Ratio()
        self._block = " ".join(dice.choices(_WORDS, k=_BLOCK_WORDS)) + " "

    def prompt(self, index: int, tokens: int) -> str:
        """Words with one space between, as many as make `tokens` tokens."""
        count = self._ratio.words(tokens)
        head = self._head(index)[:count]
        body = self._words(random.Random(f"{self._seed}:{index}"), count - len(head))
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


class IdMaker:
    """Makes prompts of token ids, exact with every tokenizer; `low` to `high` are text in it."""

    def __init__(self, seed: int, low: int, high: int) -> None:
        self._seed = seed
        self._ids = range(low, high)

    def prompt(self, index: int, tokens: int) -> list[int]:
        return random.Random(f"{self._seed}:{index}").choices(self._ids, k=tokens)


async def measured_ratio(session: aiohttp.ClientSession, url: str, model: str) -> Ratio | None:
    """Ask a model for one token twice, and see how it counts; None when it does not say."""
    maker = PromptMaker(0)
    counts = []
    for words in _PROBES_WORDS:
        body = chat_body(model, maker.prompt(words, words), 1, stream=False)
        counts.append(await _prompt_tokens(session, url, body))
    few, many = counts
    if few is None or many is None or many <= few:
        return None
    tokens_per_word = (many - few) / (_PROBES_WORDS[1] - _PROBES_WORDS[0])
    return Ratio(tokens_per_word, few - tokens_per_word * _PROBES_WORDS[0])


async def _prompt_tokens(session: aiohttp.ClientSession, url: str, body: bytes) -> int | None:
    try:
        async with session.post(
            f"{url}/v1/chat/completions", data=body, headers=JSON_HEADERS
        ) as answer:
            found: Any = orjson.loads(await answer.read())
    except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
        return None
    usage = found.get("usage") if isinstance(found, dict) else None
    return usage.get("prompt_tokens") if isinstance(usage, dict) else None
