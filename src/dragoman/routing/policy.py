"""Where a call goes: a pure choice, the same in every process."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from dragoman.wire.capabilities import EngineCapabilities

_DIGEST_BITS = 64


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An engine that could take a call: how many it has, and its share beside the others' weights."""

    name: str
    load: int = 0
    weight: float = 1.0


def choose(candidates: Sequence[Candidate], key: str | None, *, bound: float = math.inf, few: int = 0) -> str:
    """The name of the engine for a call; `candidates` must not be empty.

    With a key, rendezvous hashing: equal keys meet at one engine, and an engine that comes or goes moves only
    its own share. One whose load would pass (1 + bound) times its share of all calls is passed over for the
    next in the key's own order; never one with fewer than `few` calls for its weight. Without a key, the
    least loaded for its weight, the first among equals.
    """
    if key is None:
        return min(candidates, key=lambda candidate: candidate.load / candidate.weight).name
    return _with_room(first_choice(candidates, key), candidates, key, bound, few).name


def first_choice(candidates: Sequence[Candidate], key: str) -> Candidate:
    """The engine that a key is drawn to most; `candidates` must not be empty."""
    return max(candidates, key=lambda each: (draw(key, each), each.name))


def ranked(candidates: Sequence[Candidate], key: str) -> list[Candidate]:
    """The engines in the order in which a key is drawn to them."""
    return sorted(candidates, key=lambda each: (draw(key, each), each.name), reverse=True)


def draw(key: str, candidate: Candidate) -> float:
    """How strongly a key is drawn to an engine: by a hash of both, that no process salts, and its weight."""
    # the length keeps ("ab", "c") and ("a", "bc") apart
    text = f"{len(key)}:{key}{candidate.name}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.blake2b(text, digest_size=_DIGEST_BITS // 8).digest(), "big")
    # a uniform share of (0, 1): of weighted draws, each wins as often as its weight says
    return -candidate.weight / math.log((number + 0.5) / 2**_DIGEST_BITS)


def _with_room(
    first: Candidate, candidates: Sequence[Candidate], key: str, bound: float, few: int
) -> Candidate:
    """The first choice, or where it has no room the next that has, in the key's own order."""
    if _has_room(first, candidates, bound, few):
        return first
    # only now: in a great fleet, putting all in order is most of the work
    return next(each for each in ranked(candidates, key) if _has_room(each, candidates, bound, few))


def _has_room(candidate: Candidate, candidates: Sequence[Candidate], bound: float, few: int) -> bool:
    """Whether one more call keeps an engine within the bound, rounded up: so one always has room."""
    if math.isinf(bound) or candidate.load < few * candidate.weight:
        return True
    calls = 1 + sum(each.load for each in candidates)
    share = candidate.weight / sum(each.weight for each in candidates)
    return candidate.load < math.ceil((1 + bound) * calls * share)


class Placements:
    """Where sessions are that had to leave their first choice, so that they do not go to and fro.

    Such a session stays where it went until it made no call for `idle` seconds, or that engine is no
    candidate. `bound` and `few` are those of `choose`. `most` bounds how many are remembered: the longest
    unused is forgotten first. Times are seconds of one clock that never goes back.
    """

    def __init__(self, *, bound: float, idle: float, few: int = 0, most: int = 65_536) -> None:
        self._bound = bound
        self._few = few
        self._idle = idle
        self._most = most
        self._away: OrderedDict[str, tuple[str, float]] = OrderedDict()

    @property
    def moved(self) -> int:
        """How many sessions are known to be away from their first choice."""
        return len(self._away)

    def place(self, candidates: Sequence[Candidate], key: str | None, now: float) -> str:
        """The name of the engine for a call; `candidates` must not be empty."""
        if key is None:
            return choose(candidates, None)
        self._forget(now)
        first = first_choice(candidates, key)
        where, _ = self._away.get(key, ("", 0.0))
        if all(each.name != where for each in candidates):
            where = _with_room(first, candidates, key, self._bound, self._few).name
        if where == first.name:
            self._away.pop(key, None)
        else:
            self._away[key] = (where, now)
            self._away.move_to_end(key)
        return where

    def release(self, key: str) -> None:
        """A session is over."""
        self._away.pop(key, None)

    def _forget(self, now: float) -> None:
        """Forgets those that were idle for long; the oldest come first."""
        while self._away:
            key, (_, used) = next(iter(self._away.items()))
            if now - used < self._idle and len(self._away) < self._most:
                return
            del self._away[key]


def common(capabilities: Sequence[EngineCapabilities]) -> EngineCapabilities:
    """What all of some engines can do: a request is translated before it is placed. Must not be empty."""
    if len(capabilities) == 1:
        return capabilities[0]
    lengths = [one.context_length for one in capabilities if one.context_length is not None]
    able = {
        name: all(getattr(one, name) for one in capabilities)
        for name in EngineCapabilities.__struct_fields__
        if name not in {"context_length", "reasoning", "raw_format"}
    }
    formats = {one.raw_format for one in capabilities}
    return EngineCapabilities(
        context_length=min(lengths, default=None),
        # thinking that may come must be expected
        reasoning=any(one.reasoning for one in capabilities),
        raw_format=formats.pop() if len(formats) == 1 else "",
        **able,
    )
