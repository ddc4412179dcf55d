"""Where a call goes: a pure choice, the same in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from dragoman.wire.capabilities import EngineCapabilities


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """An engine that could take a call, and how many calls it has in flight."""

    name: str
    load: int = 0


def choose(candidates: Sequence[Candidate], key: str | None) -> str:
    """The name of the engine for a call; `candidates` must not be empty.

    With a key, rendezvous hashing: equal keys meet at one engine, and an engine that comes or goes moves only
    its own share. Without one, the least loaded, the first among equals.
    """
    if key is None:
        return min(candidates, key=lambda candidate: candidate.load).name
    return max(candidates, key=lambda candidate: (weight(key, candidate.name), candidate.name)).name


def weight(key: str, name: str) -> int:
    """How strongly a key is drawn to an engine: a hash of both, that no process salts."""
    # the length keeps ("ab", "c") and ("a", "bc") apart
    text = f"{len(key)}:{key}{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


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
