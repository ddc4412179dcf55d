"""Which turns go on from which, by their tokens alone: a default where nobody knows the branches."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence

from dragoman.ledger.values import Sample, Turn

_DIGEST_BYTES = 16


def chains_by_prefix(turns: Iterable[Turn]) -> list[list[Turn]]:
    """Every way from a first turn to a last one, oldest first.

    A turn goes on from the one whose prompt and sampled ids are the longest beginning of its prompt; else
    from the one that its own record names, though the tokens differ. A replay is a chain of its own.
    """
    known = _Known()
    parents: dict[str, str] = {}
    ordered = {turn.id: turn for turn in sorted(turns, key=lambda turn: (turn.began, turn.id))}
    for turn in ordered.values():
        parent = known.parent_of(turn)
        if parent:
            parents[turn.id] = parent
        known.add(turn)
    inner = set(parents.values())
    return [_way(turn, parents, ordered) for turn in ordered.values() if turn.id not in inner]


def _way(turn: Turn, parents: dict[str, str], turns: dict[str, Turn]) -> list[Turn]:
    way = [turn]
    while parent := parents.get(way[-1].id):
        way.append(turns[parent])
    way.reverse()
    return way


def sampled_of(turn: Turn) -> list[Sample]:
    """Those of its calls whose tokens are known."""
    return [sample for sample in turn.samples if sample.prompt_ids and sample.sampled_ids]


class _Known:
    """The turns seen so far, found by the digest of all their tokens."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._ends: dict[int, dict[bytes, str]] = {}

    def add(self, turn: Turn) -> None:
        """From now on a later turn may go on from it."""
        samples = sampled_of(turn)
        if not samples or turn.replay_of:
            return
        ids = [*samples[-1].prompt_ids, *samples[-1].sampled_ids]
        self._ids.add(turn.id)
        # Of two turns with the same tokens the first one has what follows; the other ends there.
        self._ends.setdefault(len(ids), {}).setdefault(_digests(ids, [len(ids)])[0], turn.id)

    def parent_of(self, turn: Turn) -> str:
        """The turn that it goes on from, "" for none."""
        samples = sampled_of(turn)
        if not samples or turn.replay_of:
            return ""
        lengths = sorted(length for length in self._ends if length <= len(samples[0].prompt_ids))
        digests = _digests(samples[0].prompt_ids, lengths)
        found = [self._ends[length].get(each) for length, each in zip(lengths, digests, strict=True)]
        longest = next((name for name in reversed(found) if name), "")
        return longest or (samples[0].base if samples[0].base in self._ids else "")


def _digests(ids: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
    """Those of the first ids, for each of the growing lengths."""
    data = memoryview(array("q", ids).tobytes())
    digests, done, running = [], 0, hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for length in lengths:
        running.update(data[done * 8 : length * 8])
        done = length
        digests.append(running.copy().digest())
    return digests
