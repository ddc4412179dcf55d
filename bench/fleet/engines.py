"""A simulated engine: a prefix cache of finite size, prompts one after the other, answers side by side."""

from __future__ import annotations

import msgspec

from bench.fleet.cache import PrefixCache, Prompt


class Hardware(msgspec.Struct, frozen=True):
    """One engine: tokens that its cache holds; tokens a second of prompts, and of each answer."""

    capacity: int = 400_000
    prefill: float = 10_000.0
    decode: float = 60.0


class Engine:
    """Knows at each moment what it holds, when its last prompt is through, and how many calls it has."""

    def __init__(self, name: str, hardware: Hardware) -> None:
        self.name = name
        self._hardware = hardware
        self.cache = PrefixCache(hardware.capacity)
        self.load = 0
        self.work = 0.0
        self._free_at = 0.0

    def wait(self, prompt: Prompt, now: float) -> float:
        """Seconds until the first token of an answer, were the prompt given now."""
        computed = prompt.tokens - self.cache.match(prompt)
        return max(0.0, self._free_at - now) + computed / self._hardware.prefill

    def take(self, prompt: Prompt, answer: int, now: float) -> tuple[int, float, float]:
        """Begins a call: the cached tokens, and the seconds until its first token and its end."""
        cached = self.cache.match(prompt)
        first = self.wait(prompt, now)
        decoding = answer / self._hardware.decode
        self._free_at = now + first
        self.work += (prompt.tokens - cached) / self._hardware.prefill + decoding
        self.load += 1
        self.cache.keep(prompt, answer)
        return cached, first, first + decoding

    def end(self) -> None:
        """A call is over."""
        self.load -= 1
