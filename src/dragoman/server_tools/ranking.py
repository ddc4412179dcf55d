"""BM25: which of some texts speak most of a query's words."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# The usual constants: how fast more of a word counts less, and how much a long text is marked down.
_K, _B = 1.2, 0.75


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; `camelCase` and `snake_case` fall apart."""
    return [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", text))]


class Ranking:
    """Texts, ready to be searched."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._counts = [Counter(words_of(text)) for text in texts]
        self._lengths = [counts.total() for counts in self._counts]
        self._mean = (sum(self._lengths) / len(texts) if texts else 0) or 1.0
        self._holders = Counter(word for counts in self._counts for word in counts)

    def best(self, query: str) -> list[int]:
        """The numbers of the texts that hold a word of the query, the best first; equals keep their order."""
        words = sorted(set(words_of(query)))
        scores = {number: self._score(words, number) for number in range(len(self._counts))}
        found = [number for number, score in scores.items() if score > 0]
        return sorted(found, key=lambda number: -scores[number])

    def _score(self, words: list[str], number: int) -> float:
        counts = self._counts[number]
        length = 1 - _B + _B * self._lengths[number] / self._mean
        return sum(
            self._weight(word) * counts[word] * (_K + 1) / (counts[word] + _K * length)
            for word in words
            if word in counts
        )

    def _weight(self, word: str) -> float:
        holders = self._holders[word]
        return math.log(1 + (len(self._counts) - holders + 0.5) / (holders + 0.5))
