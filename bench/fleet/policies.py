"""Ways to place calls: ours and others. Each sees who is there and how many calls each has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from hashlib import blake2b
from random import Random
from typing import Protocol

from bench.fleet.cache import PrefixCache, Prompt
from bench.fleet.engines import Engine, Hardware
from dragoman.routing.policy import Candidate, Placements
from dragoman.settings import Routing

Fleet = Mapping[str, Engine]


class Policy(Protocol):
    """One replica's way of placing calls."""

    def place(self, fleet: Fleet, session: str, prompt: Prompt, now: float) -> str:
        """The name of an engine among those that are there."""

    def gone(self, engine: str) -> None:
        """An engine left."""


class _Forgetful:
    """A policy that keeps nothing about engines."""

    def gone(self, engine: str) -> None:
        """Nothing is kept of it."""


class Ours(_Forgetful):
    """Dragoman's own: rendezvous hashing by session, bounded by load, with its default settings."""

    def __init__(self) -> None:
        self._placements = Placements(bound=Routing().bound, idle=Routing().idle, few=Routing().few)

    def place(self, fleet: Fleet, session: str, prompt: Prompt, now: float) -> str:
        """The engine for a call."""
        candidates = [Candidate(engine.name, engine.load) for engine in fleet.values()]
        return self._placements.place(candidates, session, now)


class Unbounded(_Forgetful):
    """Rendezvous hashing alone: sessions stay, whatever the load."""

    def __init__(self) -> None:
        self._placements = Placements(bound=math.inf, idle=Routing().idle)

    def place(self, fleet: Fleet, session: str, prompt: Prompt, now: float) -> str:
        """The engine for a call."""
        return self._placements.place([Candidate(name) for name in fleet], session, now)


class RoundRobin(_Forgetful):
    """One after the other."""

    def __init__(self) -> None:
        self._number = -1

    def place(self, fleet: Fleet, session: str, prompt: Prompt, now: float) -> str:
        """The engine for a call."""
        self._number += 1
        names = list(fleet)
        return names[self._number % len(names)]


class Chance(_Forgetful):
    """Any engine."""

    def __init__(self) -> None:
        self._random = Random(0)  # noqa: S311 - a simulation must repeat

    def place(self, fleet: Fleet, session: str, prompt: Prompt, now: float) -> str:
        """The engine for a call."""
        return self._random.choice(list(fleet))


class LeastLoaded(_Forgetful):
    """The engine with the fewest calls."""

    def place(self, fleet: Fleet, session: str, prompt: Prompt, now: float) -> str:
        """The engine for a call."""
        return min(fleet.values(), key=lambda engine: engine.load).name


class Modulo(_Forgetful):
    """A hash of the session, modulo the number of engines."""

    def place(self, fleet: Fleet, session: str, prompt: Prompt, now: float) -> str:
        """The engine for a call."""
        names = sorted(fleet)
        number = int.from_bytes(blake2b(session.encode(), digest_size=8).digest(), "big")
        return names[number % len(names)]


class PrefixTree:
    """By what was sent where: the engine that saw the most of a prompt, unless loads are far apart.

    The thresholds are the defaults of SGLang's router: a match counts from 30 % of the prompt, loads are far
    apart beyond 64 calls and half as many again. What engines evicted it does not learn; it keeps for each
    what a cache of the engine's size would.
    """

    MATCH, APART, TIMES = 0.3, 64, 1.5

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        self._sent: dict[str, PrefixCache] = {}

    def place(self, fleet: Fleet, session: str, prompt: Prompt, now: float) -> str:
        """The engine for a call."""
        name = self._chosen(fleet, prompt)
        self._seen(name).keep(prompt)
        return name

    def gone(self, engine: str) -> None:
        """What was sent there is forgotten."""
        self._sent.pop(engine, None)

    def _chosen(self, fleet: Fleet, prompt: Prompt) -> str:
        least = min(fleet.values(), key=lambda engine: engine.load)
        most = max(engine.load for engine in fleet.values())
        if most - least.load > self.APART and most > self.TIMES * least.load:
            return least.name
        best = max(fleet.values(), key=lambda engine: (self._seen(engine.name).match(prompt), -engine.load))
        enough = self._seen(best.name).match(prompt) > self.MATCH * prompt.tokens
        return best.name if enough else least.name

    def _seen(self, name: str) -> PrefixCache:
        if name not in self._sent:
            self._sent[name] = PrefixCache(self._hardware.capacity)
        return self._sent[name]


class Oracle(_Forgetful):
    """Knows every cache and every queue, and goes where the first token comes soonest; no router can."""

    def place(self, fleet: Fleet, session: str, prompt: Prompt, now: float) -> str:
        """The engine for a call."""
        return min(fleet.values(), key=lambda engine: (engine.wait(prompt, now), engine.load)).name


POLICIES: dict[str, Callable[[Hardware], Policy]] = {
    "dragoman": lambda _: Ours(),
    "without the bound": lambda _: Unbounded(),
    "round robin": lambda _: RoundRobin(),
    "random": lambda _: Chance(),
    "least loaded": lambda _: LeastLoaded(),
    "modulo hashing": lambda _: Modulo(),
    "prefix tree": PrefixTree,
    "oracle": lambda _: Oracle(),
}
