"""The prefix cache of one engine: which beginnings of prompts it holds, by tokens."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

# Caches keep whole blocks; vLLM's and SGLang's on accelerators are of 16 tokens or finer.
BLOCK = 16


class Prompt(msgspec.Struct, frozen=True, gc=False):
    """What a prompt consists of: `shared` tokens that all of a kind begin with, then its own."""

    kind: str
    shared: int
    conversation: str
    tokens: int


class PrefixCache:
    """At most `capacity` tokens. The least recently used go first, and of one conversation its end first.

    A beginning that all conversations of a kind share is held once.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[str, int] = OrderedDict()
        self.tokens = 0

    def match(self, prompt: Prompt) -> int:
        """How many of a prompt's first tokens are held. At least its last one is always computed."""
        found = min(self._held.get(prompt.kind, 0), prompt.shared)
        if found == prompt.shared:
            found += self._held.get(prompt.conversation, 0)
        return min(found, prompt.tokens - 1) // BLOCK * BLOCK

    def keep(self, prompt: Prompt, answer: int = 0) -> None:
        """Holds a prompt and what was answered to it; `ValueError` where there is no room for it at all."""
        total = prompt.tokens + answer
        if total > self._capacity:
            raise ValueError(f"a cache of {self._capacity} tokens cannot hold a prompt of {total}")
        self._hold(prompt.conversation, total - prompt.shared)
        # used last, so that it outlives what begins with it
        self._hold(prompt.kind, prompt.shared)
        self._evict()

    def _hold(self, name: str, tokens: int) -> None:
        self.tokens += max(0, tokens - self._held.get(name, 0))
        self._held[name] = max(tokens, self._held.get(name, 0))
        self._held.move_to_end(name)

    def _evict(self) -> None:
        while self.tokens > self._capacity:
            name, held = next(iter(self._held.items()))
            gone = min(held, self.tokens - self._capacity)
            self.tokens -= gone
            if gone == held:
                del self._held[name]
            else:
                self._held[name] = held - gone
